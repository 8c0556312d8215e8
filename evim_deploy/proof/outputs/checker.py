"""Compare an artifact's outputs with its model's, and determine what these comparisons would detect.

An fp32 artifact is compared with the source model itself (``program``), which runs in PyTorch or, if it came as an ONNX
file, in ONNX Runtime. With half precision, rounding would hide a wrong weight, so an fp16 artifact is proven in three
comparisons:

=============  ===================================  =============================  =====================
check          under test                           reference                      tolerance
=============  ===================================  =============================  =====================
``rewrites``   the rewritten network, in float32    the source model               float32 rounding
``program``    the artifact, computing in float32   the rewritten network with     float32 rounding
                                                    its weights rounded to fp16
``precision``  the artifact, in its own precision   the source model               fp16 rounding
=============  ===================================  =============================  =====================

A wrong weight or operation shows in the second as clearly as in an fp32 artifact. The same holds for weight-only
quantisation: the float32 network uses the decoded weights, as the artifact does.

With quantised activations the outputs alone are inconclusive: a value next to a tie may round either way, and the
difference propagates and changes the outputs about as much as all quantisation does. There the program is compared
operation by operation instead, each on the artifact's own inputs, to half a quantisation step
(:mod:`evim_deploy.proof.operations`). The tolerance of ``precision`` is then a multiple of the network's own
quantisation error, measured in PyTorch on the same images; with untrained weights that error is large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.artifact.parity import (
    Check,
    CheckSensitivity,
    Measures,
    OutputComparison,
    Parity,
    ParityStatus,
    Tolerance,
)
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Precision
from evim_deploy.common.errors import BadInput
from evim_deploy.common.numerics import batches
from evim_deploy.networks.protocols import Outputs, Reference, is_lowered
from evim_deploy.networks.runnable import GraphNetwork
from evim_deploy.proof.outputs.comparable import (
    FP32_SMALLEST_PROBABILITY,
    comparable,
    has_softmax,
    is_compared_as_logits,
    smallest_probability,
)
from evim_deploy.proof.outputs.differences import OutputPair, measure, pair_outputs, ranges, spread
from evim_deploy.proof.outputs.reference_outputs import Array, ReferenceCache, ReferenceOutputs, Size
from evim_deploy.proof.outputs.sensitivity import (
    MIN_SHARE,
    operations_sensitivity,
    output_deltas,
    outputs_sensitivity,
)
from evim_deploy.proof.outputs.tolerances import TOLERANCES
from evim_deploy.proof.outputs.transform import transform_fault

_SENSITIVITY_IMAGES = 2  # photographs; the other images only add to what they detect
_SMALLEST_SPREAD = 0.05  # correct networks have 0.14 and more, untrained ones too; normalised twice, mostly below 0.04


class Runnable(Protocol):
    """A session that computes an artifact's outputs by name from images (B, 3, H, W)."""

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, int]]: ...

    def run(self, image: Array) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class CheckRun:
    """One way to run an artifact for a check.

    Attributes:
        check: ``program`` or ``precision``.
        engine: Name of the engine.
        mode: Its precision mode: a row of the tolerances, or the engine's own name for a precision.
        open: Opens a session.
    """

    check: Check
    engine: str
    mode: str
    open: Callable[[], AbstractContextManager[Runnable]]


class ParityChecker:
    """Compares the outputs of artifacts of one reference; the reference's own outputs are computed once.

    Args:
        reference: The source model.
        native: Side of the images where an artifact's size is dynamic, pixels.
        folder: A folder of images to compare on besides the standard ones.
    """

    def __init__(self, reference: Reference, native: int, folder: Path | None = None) -> None:
        self.reference = reference
        self._cache = ReferenceCache(reference, native, folder)
        self._transform_faults: dict[Size, str] = {}
        self._deltas: dict[tuple[str, bool, Size], Mapping[str, float]] = {}
        self._rewrites: dict[tuple[str, bool, int | None, int | None], OutputComparison] = {}

    def pixels(self, target: Target) -> int:
        """Number of pixels of one inference, over all images of its batch."""
        return target.pixels(self._cache.native)

    def require_finite(self, target: Target) -> None:
        """Refuse a source model whose own outputs are not finite: no artifact of it could be correct.

        Raises:
            BadInput: Some of its outputs are infinite or NaN.
        """
        for size in self._cache.sizes(target):
            for output, values in self._cache.model_outputs(target, size).items():
                lost = np.asarray(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
                if lost.any():
                    first = self._cache.names(target, size)[int(lost.argmax())]
                    raise BadInput(
                        f"The source model overflows float32: {output} are infinite or NaN for {lost.sum()} of "
                        f"{len(lost)} inputs, the first {first}.",
                        "Check the weights: some are far too large, or damaged.",
                    )

    def prove(self, target: Target, runs: Sequence[CheckRun]) -> Parity:
        """Make all comparisons of an artifact's outputs; if they pass, measure their sensitivity."""
        if fault := self._transform_fault(target):
            return Parity(status=ParityStatus.FAIL, reason=fault)
        comparisons = [self._compare(target, run) for run in runs]
        if target.precision != Precision.FP32:
            comparisons.insert(0, self._compare_rewrites(target))
        failed = [each for each in comparisons if each.status == ParityStatus.FAIL]
        if failed:
            reason = "; ".join(map(_failure_reason, failed))
            return Parity(status=ParityStatus.FAIL, reason=reason, comparisons=tuple(comparisons))
        program = next((each for each in comparisons if each.check == Check.PROGRAM), None)
        sensitivity = self._sensitivity(target, program) if program else self._operations_sensitivity(target)
        reason = self._weakness(target, sensitivity)
        return Parity(
            status=ParityStatus.WARNING if reason else ParityStatus.PASS,
            reason=reason,
            comparisons=tuple(comparisons),
            sensitivity=sensitivity,
        )

    def _weakness(self, target: Target, sensitivity: CheckSensitivity) -> str:
        """The reason for a warning although the comparisons pass; empty if there is none."""
        if sensitivity.caught < MIN_SHARE * sensitivity.layers:
            return f"the comparisons pass, but the check {sensitivity}, fewer than {MIN_SHARE:.0%}"
        outputs = self._cache.model_outputs(target, self._cache.sizes(target)[0])
        if (variation := spread(comparable(outputs, target, FP32_SMALLEST_PROBABILITY))) < _SMALLEST_SPREAD:
            return (
                f"the comparisons pass, but the model's outputs hardly depend on the image: they vary by "
                f"{variation:.2g} of their range; check how its images are normalised"
            )
        return ""

    def _transform_fault(self, target: Target) -> str:
        """The difference of the manifest's preprocessing from the published transform; empty if they agree."""
        for size in self._cache.sizes(target):
            if size not in self._transform_faults:
                self._transform_faults[size] = transform_fault(self.reference, size)
        return next(filter(None, (self._transform_faults[size] for size in self._cache.sizes(target))), "")

    def reference_outputs(self, target: Target) -> ReferenceOutputs:
        """The reference's outputs on all images, at the artifact's size."""
        size = self._cache.sizes(target)[0]
        return ReferenceOutputs(
            names=tuple(self._cache.names(target, size)),
            images=self._cache.inputs(target, size),
            outputs=self._cache.model_outputs(target, size),
            tolerance=self._tolerance(target, (target.format, target.precision), size),
            smallest_probability=smallest_probability(target.precision),
        )

    def float32_rounding(self, target: Target) -> Measures | None:
        """The difference between the source network in float32 and in float64, both in PyTorch.

        An artifact cannot be closer to its reference than this, so it tells whether a failed comparison is the
        artifact's fault. None if a part of the network computes in a fixed type.
        """
        size = self._cache.sizes(target)[0]
        try:
            single, double = (self._cache.outputs_in(dtype, target, size) for dtype in (torch.float32, torch.float64))
        except RuntimeError:
            return None
        return measure(pair_outputs(self._cache.names(target, size), double, single), classes=False)

    def input_batch(self, target: Target, first: str) -> Array:
        """One input batch of an artifact (B, 3, H, W): the named image and those that follow it in the set."""
        return self._cache.batch(target, first)

    def first_batch(self, target: Target) -> tuple[str, Array]:
        """The name of the first image, and the input batch (B, 3, H, W) that begins with it."""
        name = self._cache.names(target, self._cache.sizes(target)[0])[0]
        return name, self._cache.batch(target, name)

    def _compare_rewrites(self, target: Target) -> OutputComparison:
        """The comparison of the rewritten network, made once for all formats."""
        key = target.output, target.preprocess, target.height, target.width
        if key not in self._rewrites:
            network = self.reference.network(target)
            run = CheckRun(Check.REWRITES, "pytorch", "fp32", lambda: nullcontext(network))
            self._rewrites[key] = self._compare(target, run)
        return self._rewrites[key]

    def _compare(self, target: Target, run: CheckRun) -> OutputComparison:
        is_simulated = run.check == Check.PROGRAM and target.precision != Precision.FP32
        expected_outputs = self._cache.simulated_outputs if is_simulated else self._cache.model_outputs
        smallest = smallest_probability(Precision.FP32 if run.mode == "fp32" else target.precision)
        pairs: list[OutputPair] = []
        anomalies: dict[str, dict[str, int]] = {}
        with run.open() as session:
            for size in self._cache.sizes(target):
                images = self._cache.inputs(target, size)
                actual = comparable(_run_all(session, images, target.batch, anomalies), target, smallest)
                expected = comparable(expected_outputs(target, size), target, smallest)
                pairs += pair_outputs(self._cache.names(target, size), expected, actual)
        return OutputComparison(
            check=run.check,
            engine=run.engine,
            mode=run.mode,
            reference="rounded network" if is_simulated else self.reference.engine,
            inputs=tuple(dict.fromkeys(pair.name for pair in pairs)),
            tolerance=self._tolerance(target, _tolerance_row(run, target), *self._cache.sizes(target)),
            measures=measure(pairs, classes=has_softmax(target)),
            anomalies=anomalies,
        )

    def _tolerance(self, target: Target, row: tuple[str, str], *sizes: Size) -> Tolerance:
        """The tolerance of a row; for a quantised artifact it includes the network's own quantisation error."""
        tolerance = TOLERANCES[row]
        if not tolerance.times_own:
            return tolerance
        smallest = smallest_probability(target.precision)
        pairs: list[OutputPair] = []
        for size in sizes:
            expected, own = (
                comparable(outputs(target, size), target, smallest)
                for outputs in (self._cache.model_outputs, self._cache.simulated_outputs)
            )
            pairs += pair_outputs(self._cache.names(target, size), expected, own)
        return tolerance.beyond(measure(pairs, classes=False))

    def _operations_sensitivity(self, target: Target) -> CheckSensitivity:
        """The sensitivity for an artifact whose operations are compared one by one."""
        size = self._smaller_size(target)
        assert is_lowered(self.reference), "only graphs are quantised"
        network = GraphNetwork(self.reference.stored_form(target))
        return operations_sensitivity(network, self._cache.inputs(target, size)[:1], size)

    def _sensitivity(self, target: Target, comparison: OutputComparison) -> CheckSensitivity:
        size = self._smaller_size(target)
        key = target.output, target.preprocess, size
        if key not in self._deltas:
            images = self._cache.inputs(target, size)[:_SENSITIVITY_IMAGES]
            outputs = comparable(self._cache.model_outputs(target, size), target, FP32_SMALLEST_PROBABILITY)
            network = self.reference.network(target)
            self._deltas[key] = output_deltas(network, images, is_compared_as_logits(target), ranges(outputs))
        return outputs_sensitivity(self._deltas[key], comparison, size)

    def _smaller_size(self, target: Target) -> Size:
        """The artifact's size, or the native one if it is smaller: the layers are the same."""
        native = self._cache.native
        return min(self._cache.sizes(target)[0], (native, native), key=lambda sides: sides[0] * sides[1])


def _run_all(session: Runnable, images: Array, batch: int | None, anomalies: dict[str, dict[str, int]]) -> Outputs:
    """Outputs of all images, in batches of the artifact's size; adds the session's anomalies to ``anomalies``."""
    outputs: dict[str, list[Array]] = {}
    for indices in _in_batches(len(images), batch):
        for name, values in session.run(images[indices]).items():
            outputs.setdefault(name, []).append(np.asarray(values))
        for operation, counts in session.anomalies.items():
            anomalies[operation] = dict(Counter(anomalies.get(operation, {})) + Counter(counts))
    return {name: np.concatenate(values)[: len(images)] for name, values in outputs.items()}


def _in_batches(count: int, size: int | None) -> list[npt.NDArray[np.int64]]:
    """Indices of all images; a dynamic batch is tested with one image and with many."""
    return batches(count, size) if size else [np.arange(1), np.arange(1, count)]


def _tolerance_row(run: CheckRun, target: Target) -> tuple[str, str]:
    """The row of the tolerances for a run."""
    if run.check == Check.REWRITES:
        return "pytorch", "fp32"
    if run.check == Check.PROGRAM:
        return target.format, "fp32"
    return target.format, "ane" if run.mode == "ane" else target.precision


def _failure_reason(failed: OutputComparison) -> str:
    measures, allowed = failed.measures, failed.tolerance
    overflow = failed.anomaly_totals().get("overflow")
    at = f"input {measures.worst.input}, {measures.worst.output} {list(measures.worst.index)}"
    return (
        f"{failed.check} ({failed.engine}, {failed.mode}) differs from {failed.reference} by "
        f"{measures.max_abs:.2g} of the output's range ({at}) and {measures.mean_abs:.2g} on average, "
        f"where {allowed.max_abs:g} and {allowed.mean_abs:g} are allowed"
        + (f"; {overflow['operations']} operations overflow float16, first {overflow['first']}" if overflow else "")
    )
