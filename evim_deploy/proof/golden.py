"""Golden files: inputs and the source model's outputs on them, for a device to check an artifact against.

A golden file is a safetensors file. Its metadata has one JSON document under :data:`METADATA_KEY`: the artifact, the
tolerance and the names of the N inputs. Its tensors:

===================  ============  ===========================================================
``input``            U8            (N, H, W, 3), RGB; for an artifact with normalised inputs
                     F32           (N, 3, H, W)
``expected.OUTPUT``  F32           (N, ...), the source model's output
``control.OUTPUT``   F32           (N, ...), the output of a network with one perturbed layer,
                                   a negative control that a check must refuse
===================  ============  ===========================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
"""Incremented when a field or tensor changes its meaning."""

METADATA_KEY = "evim_deploy.golden"
SUFFIX = ".golden.safetensors"

Tensors = dict[str, npt.NDArray[np.generic]]


def write_golden(info: ArtifactInfo, checker: ParityChecker, *, artifact: str, digest: str, path: Path) -> None:
    """Write the golden file of an artifact.

    Args:
        info: The artifact's description; its shapes are fixed.
        checker: The checker of its reference.
        artifact: Name of its file.
        digest: Its sha256, hex.
        path: The golden file to write.

    Raises:
        ParityFailed: No perturbation of the network would be refused, so a check could not fail.
    """
    from safetensors.numpy import save

    from evim_deploy.proof.outputs.comparable import is_compared_as_logits
    from evim_deploy.proof.outputs.negative_control import negative_control

    target = info.target
    reference = checker.reference_outputs(target)
    control = negative_control(checker.reference, target, reference)
    if control is None:
        raise ParityFailed(
            f"The golden file of {artifact} would prove nothing, although the artifact is correct: with "
            f"{'these' if info.weights.trained else 'untrained'} weights the tolerance of {target.precision} is "
            f"{reference.tolerance.max_abs:.2g} of the outputs' range, which wrong weights pass, too.",
            "Leave out --golden, or use more bits or trained weights.",
        )
    tensors: Tensors = {
        "input": _stored(reference.images, target.preprocess),
        **{f"expected.{name}": array.astype(np.float32) for name, array in reference.outputs.items()},
        **{f"control.{name}": array.astype(np.float32) for name, array in control.outputs.items()},
    }
    tolerance = reference.tolerance
    document: Mapping[str, object] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "tool": f"evim-deploy {__version__}",
        "artifact": artifact,
        "artifact_sha256": digest,
        "model": info.model.name,
        "task": target.task,
        "output": target.output,
        "precision": target.precision,
        "preprocess": target.preprocess,
        "weights": embedded(ManifestDocument.of(info).to_dict())["weights"],
        "reference": f"{checker.reference.engine} fp32",
        "tolerance": {"max_abs": tolerance.max_abs, "mean_abs": tolerance.mean_abs, "reason": tolerance.reason},
        "least_probability": reference.smallest_probability if is_compared_as_logits(target) else None,
        "cases": list(reference.names),
        "control": control.description,
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    path.write_bytes(save(contiguous, {METADATA_KEY: json.dumps(document)}))


def _stored(images: npt.NDArray[np.float32], are_pixels: bool) -> npt.NDArray[np.generic]:
    """Pixels (N, H, W, 3) as uint8, or tensors (N, 3, H, W) unchanged."""
    return images.transpose(0, 2, 3, 1).round().astype(np.uint8) if are_pixels else images
