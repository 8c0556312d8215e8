"""Prove that an artifact computes what its model does, and say what the proof would have caught.

An fp32 artifact is compared with the source model itself (``program``), which computes in PyTorch or, where it came
in an ONNX file, in ONNX Runtime. Half precision would hide a wrong weight in its rounding, so an fp16 artifact is
proven link by link:

=============  ===================================  =============================  =====================
comparison     what is run                          what it is compared with       allowed
=============  ===================================  =============================  =====================
``rewrites``   the rewritten network, in float32    the source model               float32's rounding
``program``    the artifact, computing in float32   the rewritten network with     float32's rounding
                                                    its weights rounded to fp16
``precision``  the artifact, as it computes         the source model               fp16's rounding
=============  ===================================  =============================  =====================

A wrong weight or operation shows in the second as clearly as in an fp32 artifact. Where weights alone are quantised
it is the same: the network that is run in float32 has them decoded, as the artifact does.

Where values are rounded to grids outputs cannot tell. A value next to the middle between two codes takes either, by the
least difference in arithmetic; the step between them travels, and moves the outputs about as far as all the rounding
does. There ``program`` is shown operation by operation: each on the values that the artifact itself gave it, where
nothing travels, to half a step of the grid (:mod:`evim_deploy.proof.operations`). And ``precision`` allows a multiple
of what rounding costs the network by itself, in PyTorch, which is no small thing for untrained weights: it is measured
for the images at hand and told, as what the artifact loses is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.artifact.parity import FAIL, PASS, WARNING, Comparison, Measures, Parity, Power, Tolerance
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Activation
from evim_deploy.common.errors import BadInput
from evim_deploy.common.numerics import batches
from evim_deploy.images.preprocessing import Preprocessing, normalise
from evim_deploy.networks.protocols import Outputs, Reference, is_lowered
from evim_deploy.networks.runnable import GraphNetwork
from evim_deploy.proof.outputs import inputs
from evim_deploy.proof.outputs.differences import Row, as_logits, measure, ranges, rows, spread
from evim_deploy.proof.outputs.inputs import Images
from evim_deploy.proof.outputs.sensitivity import MIN_SHARE, local_power, movements, power
from evim_deploy.proof.outputs.tolerances import TOLERANCES
from evim_deploy.proof.outputs.transform import transform_fault

Array = npt.NDArray[np.float32]
Size = tuple[int, int]

PROGRAM, PRECISION, REWRITES = "program", "precision", "rewrites"

_OTHER_SIDES = ((160, 224), (203, 131))  # where an artifact's sides are dynamic, besides its native size
_FP16_LEAST = 2.0**-14  # probabilities below are subnormal in fp16, or 0: they are compared as this
_POWER_IMAGES = 2  # photographs; the comparison's other images only add to what it sees
_LEAST_SPREAD = 0.05  # sound networks show 0.14 and more, untrained ones too; normalised twice, mostly below 0.04
_FP32_LEAST = 2.0**-120  # near the least normal number, 2^-126, XNNPACK exponentials are off by a third


class Runs(Protocol):
    """Whatever computes an artifact's outputs by name from images (B, 3, H, W)."""

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, int]]: ...

    def run(self, image: Array) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class Run:
    """One way to run an artifact.

    Attributes:
        subject: The comparison that it is for, ``program`` or ``precision``.
        engine: What runs it.
        mode: How that computes; a row of the tolerances, or an engine's own word for its precision.
        open: Makes a session.
    """

    subject: str
    engine: str
    mode: str
    open: Callable[[], AbstractContextManager[Runs]]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answers to the standard images, and how far an artifact's own answers may be from that.

    Attributes:
        names: Of the N images.
        images: As the artifact takes them, (N, 3, H, W).
        outputs: The reference's by name, (N, ...).
        tolerance: Of the artifact as it computes.
        least: Below it probabilities are all the same.
    """

    names: tuple[str, ...]
    images: Array
    outputs: Outputs
    tolerance: Tolerance
    least: float


class ParityChecker:
    """Proves the artifacts of one reference; what they have in common is computed once.

    Args:
        reference: What the artifacts were made from.
        native: The side to check at where an artifact's sides are dynamic, pixels.
        folder: Pictures to compare over besides the standard ones.
    """

    def __init__(self, reference: Reference, native: int, folder: Path | None = None) -> None:
        self.reference = reference
        self._native = native
        self._folder = folder
        self._images: dict[Size, Images] = {}
        self._transforms: dict[Size, str] = {}
        self._published: dict[tuple[str, Size], Outputs] = {}
        self._moved: dict[tuple[str, bool, Size], Mapping[str, float]] = {}
        self._rounded: dict[tuple[Any, ...], Outputs] = {}
        self._rewrites: dict[tuple[str, bool, int | None, int | None], Comparison] = {}

    def pixels(self, target: Target) -> int:
        """Of one prediction, all images of its batch together."""
        return target.pixels(self._native)

    def require_finite(self, target: Target) -> None:
        """Refuse a network that computes no numbers itself: nothing made of it could be right.

        Raises:
            BadInput: Some of its outputs are infinite or not a number.
        """
        for size in self._sizes(target):
            for output, values in self._model_outputs(target, size).items():
                lost = np.asarray(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
                if lost.any():
                    first = self._names(target, size)[int(lost.argmax())]
                    raise BadInput(
                        f"The source model overflows float32: {output} are infinite or not numbers for {lost.sum()} of "
                        f"{len(lost)} inputs, the first {first}.",
                        "Check the weights: some are far too large, or damaged.",
                    )

    def prove(self, target: Target, runs: Sequence[Run]) -> Parity:
        """Make all comparisons of an artifact; where they pass, analyse what the one of its program would catch."""
        if fault := self._transform_fault(target):
            return Parity(status=FAIL, reason=fault, comparisons=())
        comparisons = [self._compare(target, run) for run in runs]
        if target.precision != "fp32":
            comparisons.insert(0, self._compare_rewrites(target))
        failed = [each for each in comparisons if each.status == FAIL]
        if failed:
            return Parity(status=FAIL, reason="; ".join(map(_why, failed)), comparisons=tuple(comparisons))
        program = next((each for each in comparisons if each.subject == PROGRAM), None)
        strength = self._power(target, program) if program else self._power_by_itself(target)
        if strength.caught < MIN_SHARE * strength.layers:
            reason = f"the comparisons pass, but this {strength}, fewer than {MIN_SHARE:.0%}"
            return Parity(status=WARNING, reason=reason, comparisons=tuple(comparisons), power=strength)
        outputs = self._model_outputs(target, self._sizes(target)[0])
        if (varied := spread(comparable(outputs, target, _FP32_LEAST))) < _LEAST_SPREAD:
            reason = (
                f"the comparisons pass, but the model answers alike to all images, to {varied:.2g} of the output's "
                "range: check how its images are normalised"
            )
            return Parity(status=WARNING, reason=reason, comparisons=tuple(comparisons), power=strength)
        return Parity(status=PASS, reason="", comparisons=tuple(comparisons), power=strength)

    def _transform_fault(self, target: Target) -> str:
        """How the manifest's crop and normalisation differ from the published transform; empty where they do not."""
        for size in self._sizes(target):
            if size not in self._transforms:
                self._transforms[size] = transform_fault(self.reference, size)
        return next(filter(None, (self._transforms[size] for size in self._sizes(target))), "")

    def answers(self, target: Target) -> Answers:
        """What the model answers to all images, at the artifact's size."""
        size = self._sizes(target)[0]
        return Answers(
            names=tuple(self._names(target, size)),
            images=self._fed_at(size, target),
            outputs=self._model_outputs(target, size),
            tolerance=self._allowed(target, (target.format, target.precision), size),
            least=_least(target.precision),
        )

    def float32_rounding(self, target: Target) -> Measures | None:
        """How far the source network in float32 is from itself in float64, both in PyTorch.

        An artifact cannot be closer to its reference than the reference is to the network, so it tells whether a
        failed comparison blames the artifact. None where a part of the network computes in a fixed type.
        """
        size = self._sizes(target)[0]
        stack = normalise(np.stack(list(self._images_at(size).values())), self.reference.preprocessing)
        try:
            single, double = (
                self.reference.outputs_in(dtype, target.task, stack) for dtype in (torch.float32, torch.float64)
            )
        except RuntimeError:
            return None
        return measure(rows(self._names(target, size), double, single), classes=False)

    def images(self, target: Target, first: str) -> Array:
        """One batch as an artifact takes it, (B, 3, H, W): a named image, and what follows it in the set."""
        sizes = self._sizes(target)
        size = next((size for size in sizes if first in self._names(target, size)), sizes[0])
        names, images = self._names(target, size), list(self._images_at(size).values())
        start = names.index(first) if first in names else 0
        order = [(start + offset) % len(names) for offset in range(target.batch or 1)]
        return _fed(np.stack([images[index] for index in order]), target, self.reference.preprocessing)

    def first(self, target: Target) -> tuple[str, Array]:
        """The name of the first image, and one batch that begins with it as an artifact takes it, (B, 3, H, W)."""
        name = self._names(target, self._sizes(target)[0])[0]
        return name, self.images(target, name)

    def _compare_rewrites(self, target: Target) -> Comparison:
        """The same for all formats, so it is made once."""
        key = target.output, target.preprocess, target.height, target.width
        if key not in self._rewrites:
            network = self.reference.network(target)
            run = Run(REWRITES, "pytorch", "fp32", lambda: nullcontext(network))
            self._rewrites[key] = self._compare(target, run)
        return self._rewrites[key]

    def _compare(self, target: Target, run: Run) -> Comparison:
        is_rounded = run.subject == PROGRAM and target.precision != "fp32"
        expected_of = self._rounded_outputs if is_rounded else self._model_outputs
        least = _least("fp32" if run.mode == "fp32" else target.precision)
        lined_up: list[Row] = []
        anomalies: dict[str, dict[str, int]] = {}
        with run.open() as session:
            for size in self._sizes(target):
                actual = comparable(self._outputs(session, target, size, anomalies), target, least)
                expected = comparable(expected_of(target, size), target, least)
                lined_up += rows(self._names(target, size), expected, actual)
        return Comparison(
            subject=run.subject,
            engine=run.engine,
            mode=run.mode,
            reference="rounded network" if is_rounded else self.reference.engine,
            inputs=tuple(dict.fromkeys(row.name for row in lined_up)),
            tolerance=self._allowed(target, _row(run, target), *self._sizes(target)),
            measures=measure(lined_up, target.task == "classify" and target.activation == Activation.SOFTMAX),
            anomalies=anomalies,
        )

    def _allowed(self, target: Target, row: tuple[str, str], *sizes: Size) -> Tolerance:
        """What passes of a target: of a quantised one measured by what rounding costs the network by itself."""
        tolerance = TOLERANCES[row]
        if not tolerance.times_own:
            return tolerance
        least = _least(target.precision)
        lined_up: list[Row] = []
        for size in sizes:
            expected, own = (
                comparable(of(target, size), target, least) for of in (self._model_outputs, self._rounded_outputs)
            )
            lined_up += rows(self._names(target, size), expected, own)
        return tolerance.beyond(measure(lined_up, classes=False))

    def _power_by_itself(self, target: Target) -> Power:
        """Of an artifact whose operations are compared one by one."""
        height, width = self._sizes(target)[0]
        size = min((height, width), (self._native, self._native), key=lambda sides: sides[0] * sides[1])
        assert is_lowered(self.reference), "only graphs are quantised"
        network = GraphNetwork(self.reference.stored_form(target))
        return local_power(network, self._fed_at(size, target)[:1], size)

    def _power(self, target: Target, comparison: Comparison) -> Power:
        """At the artifact's size, or at the native one where that is smaller: the layers are the same."""
        height, width = self._sizes(target)[0]
        size = min((height, width), (self._native, self._native), key=lambda sides: sides[0] * sides[1])
        key = target.output, target.preprocess, size
        if key not in self._moved:
            images = self._fed_at(size, target)[:_POWER_IMAGES]
            units = ranges(comparable(self._model_outputs(target, size), target, _FP32_LEAST))
            network = self.reference.network(target)
            self._moved[key] = movements(network, images, is_compared_as_logits(target), units)
        return power(self._moved[key], comparison, size)

    def _sizes(self, target: Target) -> list[Size]:
        if target.height is None or target.width is None:
            return [(self._native, self._native), *_OTHER_SIDES]
        return [(target.height, target.width)]

    def _names(self, target: Target, size: Size) -> list[str]:
        return [name if target.height else f"{name} at {size[0]}x{size[1]}" for name in self._images_at(size)]

    def _images_at(self, size: Size) -> Images:
        if size not in self._images:
            own = inputs.images_in(self._folder, *size, self.reference.preprocessing) if self._folder else {}
            self._images[size] = {**inputs.standard_images(*size), **own}
        return self._images[size]

    def _fed_at(self, size: Size, target: Target) -> Array:
        """All images at a size, as an artifact takes them."""
        return _fed(np.stack(list(self._images_at(size).values())), target, self.reference.preprocessing)

    def _outputs(self, session: Runs, target: Target, size: Size, anomalies: dict[str, dict[str, int]]) -> Outputs:
        """Outputs of all images, in the batches that an artifact takes; adds up what its floats could not hold."""
        stack = self._fed_at(size, target)
        found: dict[str, list[Array]] = {}
        for indices in _in_batches(len(stack), target.batch):
            for name, values in session.run(stack[indices]).items():
                found.setdefault(name, []).append(np.asarray(values))
            for operation, counts in session.anomalies.items():
                anomalies[operation] = dict(Counter(anomalies.get(operation, {})) + Counter(counts))
        return {name: np.concatenate(values)[: len(stack)] for name, values in found.items()}

    def _rounded_outputs(self, target: Target, size: Size) -> Outputs:
        """The rewritten network's as it is stored."""
        key = target.output, target.preprocess, target.precision, target.format, target.quantisation, size
        if key not in self._rounded:
            self._rounded[key] = self.reference.simulated_network(target).run(self._fed_at(size, target))
        return self._rounded[key]

    def _model_outputs(self, target: Target, size: Size) -> Outputs:
        """The reference's, one image at a time, which bounds the memory."""
        key = target.task, size
        if key not in self._published:
            stack = normalise(np.stack(list(self._images_at(size).values())), self.reference.preprocessing)
            self._published[key] = self.reference.outputs(target.task, stack)
        outputs = self._published[key]
        return outputs if target.task == "features" else {target.output: outputs[target.output]}


def _in_batches(count: int, size: int | None) -> list[npt.NDArray[np.int64]]:
    """Indices of all images; a dynamic batch is tried at one and at many."""
    return batches(count, size) if size else [np.arange(1), np.arange(1, count)]


def _fed(pixels: Array, target: Target, preprocessing: Preprocessing) -> Array:
    """What an artifact takes, from RGB pixels 0-255 (B, 3, H, W)."""
    return pixels if target.preprocess else normalise(pixels, preprocessing)


def _least(precision: str) -> float:
    """Of probabilities that a precision resolves."""
    return _FP32_LEAST if precision == "fp32" else _FP16_LEAST


def is_compared_as_logits(target: Target) -> bool:
    """Whether an output is probabilities of classes of which one is right: small ones would not show beside it."""
    return target.output == "probabilities" and target.activation == Activation.SOFTMAX


def comparable(outputs: Outputs, target: Target, least: float) -> Outputs:
    """Outputs as they are compared: probabilities of a softmax as logits, others as they are."""
    if not is_compared_as_logits(target) or "probabilities" not in outputs:
        return outputs
    return {"probabilities": as_logits(outputs["probabilities"], least)}


def _row(run: Run, target: Target) -> tuple[str, str]:
    """The row of the tolerances that a run falls under."""
    if run.subject == REWRITES:
        return "pytorch", "fp32"
    if run.subject == PROGRAM:
        return target.format, "fp32"
    return target.format, "ane" if run.mode == "ane" else target.precision


def _why(failed: Comparison) -> str:
    found, allowed = failed.measures, failed.tolerance
    overflow = failed.anomaly_totals().get("overflow")
    at = f"input {found.worst.input}, {found.worst.output} {list(found.worst.index)}"
    return (
        f"{failed.subject} ({failed.engine}, {failed.mode}) differs from {failed.reference} by "
        f"{found.max_abs:.2g} of the output's range ({at}) and {found.mean_abs:.2g} on average, "
        f"where {allowed.max_abs:g} and {allowed.mean_abs:g} are allowed"
        + (f"; {overflow['operations']} operations overflow float16, first {overflow['first']}" if overflow else "")
    )
