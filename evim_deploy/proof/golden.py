"""Golden files: inputs beside what the source model answers to them, for a device to check an artifact against.

A golden file is a safetensors file. Its metadata has one JSON document under :data:`METADATA_KEY`: which
artifact it is for, how far that may differ, and the names of the N inputs. Its tensors:

===================  ============  ===========================================================
``input``            U8            (N, H, W, 3), RGB; of an artifact that takes a normalised
                     F32           tensor (N, 3, H, W)
``expected.OUTPUT``  F32           (N, ...), the source model's
``control.OUTPUT``   F32           (N, ...), those of a network with one disturbed layer, which
                                   a check must refuse: else its pass would mean nothing
===================  ============  ===========================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evim_deploy import __version__
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.manifest import ManifestDocument, embedded
from evim_deploy.common.errors import ParityFailed

if TYPE_CHECKING:
    from evim_deploy.proof.outputs.checker import ParityChecker

SCHEMA = "evim-deploy-golden"
SCHEMA_VERSION = 1
"""Grows when a field or tensor changes its meaning."""

METADATA_KEY = "evim_deploy.golden"
SUFFIX = ".golden.safetensors"

Tensors = dict[str, npt.NDArray[Any]]


def write_golden(facts: ArtifactInfo, prover: ParityChecker, artifact: str, digest: str, path: Path) -> None:
    """Write the golden file of an artifact.

    Args:
        facts: What is known of the artifact; its shapes are fixed.
        prover: Of the reference that it was made from.
        artifact: Its file's name.
        digest: Its sha256.
        path: Where the golden file goes.

    Raises:
        ParityFailed: No disturbance of the network would be refused, so that a check could not fail.
    """
    from safetensors.numpy import save

    from evim_deploy.proof.outputs.checker import is_compared_as_logits
    from evim_deploy.proof.outputs.control import refused_control

    target = facts.target
    answers = prover.answers(target)
    control = refused_control(prover.reference, target, answers)
    if control is None:
        raise ParityFailed(
            f"The golden file of {artifact} would prove nothing, which is no fault of the artifact: with "
            f"{'these' if facts.weights.trained else 'untrained'} weights {target.precision} may move the outputs by "
            f"{answers.tolerance.max_abs:.2g} of their range, and a check that allows that passes other weights, too.",
            "Leave out --golden; more bits or trained weights lose less, which makes it a proof.",
        )
    tensors: Tensors = {
        "input": _stored(answers.images, target.preprocess),
        **{f"expected.{name}": array.astype(np.float32) for name, array in answers.outputs.items()},
        **{f"control.{name}": array.astype(np.float32) for name, array in control.outputs.items()},
    }
    tolerance = answers.tolerance
    document: Mapping[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "tool": f"evim-deploy {__version__}",
        "artifact": artifact,
        "artifact_sha256": digest,
        "model": facts.model.name,
        "task": target.task,
        "output": target.output,
        "precision": target.precision,
        "preprocess": target.preprocess,
        "weights": embedded(ManifestDocument.of(facts).to_dict())["weights"],
        "reference": f"{prover.reference.engine} fp32",
        "tolerance": {"max_abs": tolerance.max_abs, "mean_abs": tolerance.mean_abs, "reason": tolerance.reason},
        "least_probability": answers.least if is_compared_as_logits(target) else None,
        "cases": list(answers.names),
        "control": control.words,
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    path.write_bytes(save(contiguous, {METADATA_KEY: json.dumps(document)}))


def _stored(images: npt.NDArray[np.float32], are_pixels: bool) -> npt.NDArray[Any]:
    """Pixels (N, H, W, 3) uint8, or tensors (N, 3, H, W) as they are."""
    return images.transpose(0, 2, 3, 1).round().astype(np.uint8) if are_pixels else images
