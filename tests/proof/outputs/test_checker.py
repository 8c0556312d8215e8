"""The comparisons and verdicts of a proof, with simulated sessions."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from networks import tiny
from PIL import Image
from simulated import Change, Exact, Network, reference_of, reference_to, run_of, target_of, with_noise

from evim_deploy.artifact.parity import Check, Parity
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import ModelName
from evim_deploy.common.errors import ParityFailed
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.proof.outputs.checker import CheckRun, ParityChecker
from evim_deploy.proof.outputs.inputs import standard_images
from evim_deploy.proof.outputs.tolerances import TOLERANCES

Array = npt.NDArray[np.float32]

NATIVE = 64
IMAGES = 12  # of the stated set
VARIANT = tiny(3, depths=(1, 1, 1))


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return reference_of(VARIANT)


@pytest.fixture(scope="module")
def checker(reference: GraphReference) -> ParityChecker:
    return ParityChecker(reference, NATIVE)


def exact_runs(reference: GraphReference, target: Target) -> list[CheckRun]:
    """All runs of an exact artifact."""
    if target.precision == "fp32":
        return [run_of(Exact(reference.model, target))]
    return [
        run_of(Network(reference.stored_form(target))),
        run_of(Exact(reference.model, target), Check.PRECISION, mode="fp16"),
    ]


# --- what is compared ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["logits", "probabilities", "features"])
@pytest.mark.parametrize("format_", ["onnx", "tflite", "coreml"])
def test_an_exact_fp32_artifact_passes_in_one_comparison(
    reference: GraphReference, checker: ParityChecker, format_: str, output: str
) -> None:
    target = target_of(format_, output=output)
    result = checker.prove(target, exact_runs(reference, target))
    assert (result.status, result.reason) == ("pass", "")
    (program,) = result.comparisons
    assert (program.check, program.engine, program.mode, program.reference) == (
        "program",
        "simulated",
        "fp32",
        "PyTorch",
    )
    assert program.inputs == tuple(standard_images(64, 64))
    assert len(program.inputs) == IMAGES
    assert program.tolerance == TOLERANCES[format_, "fp32"]
    assert program.measures.max_abs < 1e-6
    assert program.anomalies == {}
    assert (program.measures.top1, program.measures.top5) == ((None, None) if output == "features" else (1, 1))
    assert result.sensitivity is not None
    assert result.sensitivity.check == "program"
    assert result.sensitivity.size == (64, 64)


@pytest.mark.parametrize("output", ["logits", "probabilities", "features"])
@pytest.mark.parametrize("format_", ["onnx", "tflite", "coreml"])
def test_an_fp16_artifact_is_proven_in_three_comparisons(
    reference: GraphReference, checker: ParityChecker, format_: str, output: str
) -> None:
    target = target_of(format_, "fp16", output)
    result = checker.prove(target, exact_runs(reference, target))
    assert (result.status, result.reason) == ("pass", "")
    assert [(each.check, each.engine, each.mode, each.reference) for each in result.comparisons] == [
        ("rewrites", "pytorch", "fp32", "PyTorch"),
        ("program", "simulated", "fp32", "rounded network"),
        ("precision", "simulated", "fp16", "PyTorch"),
    ]
    rows = [("pytorch", "fp32"), (format_, "fp32"), (format_, "fp16")]
    assert [each.tolerance for each in result.comparisons] == [TOLERANCES[row] for row in rows]
    assert [each.inputs for each in result.comparisons] == [tuple(standard_images(64, 64))] * 3
    assert result.sensitivity is not None
    assert result.sensitivity.check == "program"


def test_fp16s_program_is_held_against_rounded_weights(reference: GraphReference, checker: ParityChecker) -> None:
    """The unrounded network would not pass for the artifact's program, nor the rounded one for PyTorch's."""
    half, single = target_of(precision="fp16"), target_of()
    unrounded = Network(reference.rewritten(half)[0])
    assert checker.prove(half, [run_of(unrounded)]).status == "fail"
    assert checker.prove(single, [run_of(unrounded)]).status == "pass"
    assert checker.prove(single, [run_of(Network(reference.stored_form(half)))]).status == "fail"


# --- where the tolerance is ------------------------------------------------------------------------------

ROWS = [
    ("onnx", "fp32", Check.PROGRAM, "fp32", "fp32"),
    ("tflite", "fp32", Check.PROGRAM, "fp32", "fp32"),
    ("coreml", "fp32", Check.PROGRAM, "fp32", "fp32"),
    ("onnx", "fp16", Check.PROGRAM, "fp32", "fp32"),
    ("tflite", "fp16", Check.PROGRAM, "fp32", "fp32"),
    ("coreml", "fp16", Check.PROGRAM, "fp32", "fp32"),
    ("onnx", "fp16", Check.PRECISION, "fp16", "fp16"),
    ("tflite", "fp16", Check.PRECISION, "fp32", "fp16"),
    ("coreml", "fp16", Check.PRECISION, "fp16", "fp16"),
    ("coreml", "fp16", Check.PRECISION, "cpuAndNeuralEngine", "fp16"),
    ("coreml", "fp16", Check.PRECISION, "ane", "ane"),
    ("coreml", "fp32", Check.PRECISION, "ane", "ane"),
    ("coreml", "fp32", Check.PRECISION, "all", "fp32"),
]
"""Format, precision, check, mode, and the arithmetic whose tolerance holds."""


@pytest.fixture(scope="module")
def wide() -> GraphReference:
    """A model with so many classes that one of them hardly changes the mean."""
    return reference_of(VARIANT, classes=40)


@pytest.fixture(scope="module")
def wide_checker(wide: GraphReference) -> ParityChecker:
    return ParityChecker(wide, NATIVE)


def one_moved(by: float) -> Change:
    """Change one value of each image by a part of its unit, or of the common unit if they are in one batch."""

    def change(values: Array) -> Array:
        values[:, 3] += by * units(values)
        return values

    return change


def all_moved(by: float) -> Change:
    """Change all values, in alternating directions, by a part of their image's unit."""
    return lambda values: values + by * units(values)[:, None] * to_and_fro(values.shape[1])


def units(values: Array) -> Array:
    """The unit of errors for each image: the largest range of all images."""
    spans = np.ptp(values, axis=1)
    return np.full_like(spans, spans.max())


def to_and_fro(count: int) -> Array:
    return np.where(np.arange(count) % 2, -1, 1).astype(np.float32)


@pytest.mark.parametrize("measure", ["max_abs", "mean_abs"])
@pytest.mark.parametrize(("times", "status"), [(0.9, "pass"), (1.1, "fail")])
@pytest.mark.parametrize(("format_", "precision", "check", "mode", "arithmetic"), ROWS)
def test_the_tolerance_is_where_the_table_says(
    wide: GraphReference,
    wide_checker: ParityChecker,
    format_: str,
    precision: str,
    check: Check,
    mode: str,
    arithmetic: str,
    times: float,
    status: str,
    measure: str,
) -> None:
    """The largest error alone fails, and the mean error alone does."""
    target = target_of(format_, precision, batch=12, classes=40)
    allowed = TOLERANCES[format_, arithmetic]
    error = times * (allowed.max_abs if measure == "max_abs" else allowed.mean_abs)
    change = one_moved(error) if measure == "max_abs" else all_moved(error)
    inexact: Exact | Network = Exact(wide.model, target, change)
    if check == "program" and precision == "fp16":
        inexact = Network(wide.stored_form(target), change)
    others = [run for run in exact_runs(wide, target) if run.check != check]
    result = wide_checker.prove(target, [*others, run_of(inexact, check, mode=mode)])

    (tested,) = [each for each in result.comparisons if each.check == check]
    actual = tested.measures
    assert tested.tolerance == allowed
    assert getattr(actual, measure) == pytest.approx(error, rel=0.08)
    assert (actual.mean_abs <= allowed.mean_abs) == (measure == "max_abs" or status == "pass")
    assert (actual.max_abs <= allowed.max_abs) == (measure == "mean_abs" or status == "pass")
    assert (tested.status, result.status) == (status, status)
    assert {each.status for each in result.comparisons if each is not tested} <= {"pass"}


def with_shifted_logits(reference: GraphReference, offset: Array) -> GraphReference:
    """The same model with another network for its rewritten one; an artifact of it would hold the same mistake."""
    shifted = reference_to(reference.model)
    graph = shifted.rewritten(target_of())[0]
    (logits,) = graph.outputs.values()
    graph.outputs = {"logits": graph.add("shift", [logits], "moved", {"bias": offset.astype(np.float64)})}
    return shifted


@pytest.mark.parametrize(("times", "status"), [(0.9, "pass"), (1.1, "fail")])
@pytest.mark.parametrize("measure", ["max_abs", "mean_abs"])
def test_the_tolerance_of_the_rewrites(wide: GraphReference, measure: str, times: float, status: str) -> None:
    target, allowed = target_of(precision="fp16", classes=40), TOLERANCES["pytorch", "fp32"]
    images = np.stack(list(standard_images(64, 64).values()))
    spans = units(Exact(wide.model, target).run(images)["logits"])
    if measure == "max_abs":
        offset = np.eye(1, 40, 3)[0] * times * allowed.max_abs * spans.min()
    else:
        offset = to_and_fro(40) * times * allowed.mean_abs / np.mean(1 / spans)
    shifted = with_shifted_logits(wide, offset)
    result = ParityChecker(shifted, NATIVE).prove(target, exact_runs(shifted, target))
    rewrites, program, _ = result.comparisons
    assert getattr(rewrites.measures, measure) == pytest.approx(times * getattr(allowed, measure), rel=0.08)
    assert (rewrites.status, result.status) == (status, status)
    assert program.status == "pass"  # the artifact is what it was made from


# --- what each of the three is for -----------------------------------------------------------------------

SUBTLE = {
    "patch_embed.conv.1.conv": 0.002,
    "stages.0.blocks.0.mixer.BCdt_proj": 0.01,
    "stages.1.blocks.0.mixer.out_proj": 0.01,
    "stages.2.blocks.0.ffn.fc1.conv": 0.01,
    "stages.0.downsample.conv.3.conv": 0.002,
}
"""Noise on a layer's weights, of their size, that half precision's own rounding would hide."""


@pytest.mark.parametrize("layer", SUBTLE)
def test_a_wrong_rewrite_is_caught_though_the_artifact_is_what_it_was_made_from(
    reference: GraphReference, layer: str
) -> None:
    for precision in ("fp16", "fp32"):
        target, wrong = target_of(precision=precision), reference_to(reference.model)
        graph = wrong.rewritten(target)[0]
        noisy = with_noise(graph, layer, SUBTLE[layer])
        graph.substitute(graph.producer(layer), noisy.producer(layer))
        runs = [run_of(Network(wrong.stored_form(target)))]
        if precision == "fp16":
            runs.append(run_of(Network(wrong.stored_form(target)), Check.PRECISION, mode="fp16"))
        result = ParityChecker(wrong, NATIVE).prove(target, runs)
        assert result.status == "fail"
        failed = ["rewrites"] if precision == "fp16" else ["program"]
        assert [each.check for each in result.comparisons if each.status == "fail"] == failed
        assert result.reason.startswith(failed[0])


@pytest.mark.parametrize("layer", SUBTLE)
def test_an_error_of_one_layer_hides_in_fp16s_rounding_and_not_in_the_program(
    reference: GraphReference, checker: ParityChecker, layer: str
) -> None:
    target = target_of(precision="fp16")
    noisy = with_noise(reference.stored_form(target), layer, SUBTLE[layer])
    result = checker.prove(target, [run_of(Network(noisy)), run_of(Network(noisy), Check.PRECISION, mode="fp16")])
    assert [(each.check, each.status) for each in result.comparisons] == [
        ("rewrites", "pass"),
        ("program", "fail"),
        ("precision", "pass"),
    ]
    assert result.status == "fail"


def test_what_only_the_engine_does_wrong_is_caught_by_the_precision(
    reference: GraphReference, checker: ParityChecker
) -> None:
    target = target_of(precision="fp16")
    wrong = Exact(reference.model, target, one_moved(0.1))
    result = checker.prove(
        target, [run_of(Network(reference.stored_form(target))), run_of(wrong, Check.PRECISION, mode="all")]
    )
    assert [each.status for each in result.comparisons] == ["pass", "pass", "fail"]
    assert result.status == "fail"


# --- what it says ----------------------------------------------------------------------------------------


def test_the_reason_says_what_failed_where_and_by_how_much(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of(batch=12)
    noise = list(standard_images(64, 64)).index("noise 0")

    def change(values: Array) -> Array:
        values[noise, 3] += 0.25 * units(values)[noise]
        return values

    session = Exact(reference.model, target, change)
    result = checker.prove(target, [run_of(session, engine="onnxruntime")])
    assert result.status == "fail"
    for said in ("program (onnxruntime, fp32)", "PyTorch", "noise 0", "logits [3]", "0.25", "0.0021", "3e-05", "3e-06"):
        assert said in result.reason
    (program,) = result.comparisons
    assert (program.measures.worst.input, program.measures.worst.index) == ("noise 0", (3,))


def test_all_that_failed_is_in_the_reason(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of(precision="fp16")
    wrong = Network(reference.stored_form(target), one_moved(0.2))
    result = checker.prove(target, [run_of(wrong), run_of(wrong, Check.PRECISION, mode="fp16")])
    assert [part.split()[0] for part in result.reason.split("; ")] == ["program", "precision"]


def test_a_document_is_plain_json(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of(precision="fp16")
    document = checker.prove(target, exact_runs(reference, target)).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document.keys() == {"status", "reason", "comparisons", "power", "stored", "operations"}
    for entry in document["comparisons"]:
        assert entry.keys() == {
            "subject",
            "engine",
            "mode",
            "reference",
            "inputs",
            "tolerance",
            "measures",
            "anomalies",
            "status",
        }
        measures = entry["measures"]
        assert measures.keys() == {"max_abs", "mean_abs", "cosine", "snr_db", "top1", "top5", "kl", "worst"}
        assert measures["worst"].keys() == {"input", "output", "index"}
        assert entry["tolerance"].keys() == {"max_abs", "mean_abs", "reason", "distribution", "times_own"}
        assert entry["status"] == "pass"
    power = document["power"]
    assert power["caught"] == power["layers"] - len(power["missed"])
    assert power["summary"] == f"detects a 1 % weight perturbation in {power['caught']} of {power['layers']} layers"
    assert set(power) >= {"subject", "disturbance", "size", "smallest", "everywhere"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_fails_and_is_null_in_the_document(
    reference: GraphReference, checker: ParityChecker, value: float
) -> None:
    def change(values: Array) -> Array:
        values[0, 4] = value
        return values

    target = target_of()
    result = checker.prove(target, [run_of(Exact(reference.model, target, change))])
    assert result.status == "fail"
    (program,) = result.comparisons
    assert (program.measures.max_abs, program.measures.worst.index) == (math.inf, (4,))
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    measures = document["comparisons"][0]["measures"]
    assert (measures["max_abs"], measures["snr_db"], measures["kl"]) == (None, None, None)
    assert document["power"] is None


def test_a_model_that_overflows_is_no_pass_and_no_crash() -> None:
    """Finite weights, so large that the network's own output is NaN."""
    model = untrained_model(ModelName(VARIANT), 10, 0)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.fill_(3e38)
    reference, target = reference_to(model), target_of()
    result = ParityChecker(reference, NATIVE).prove(target, [run_of(Exact(model, target))])
    assert result.status == "fail"
    json.dumps(result.to_dict(), allow_nan=False)


def test_what_was_not_run_says_why() -> None:
    result = Parity.not_run("there is no engine")
    assert result.to_dict() == {
        "status": "not_run",
        "reason": "there is no engine",
        "comparisons": [],
        "power": None,
        "stored": None,
        "operations": None,
    }


def test_anomalies_are_added_up_by_operation_and_kind(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of("coreml", "fp16")
    session = Exact(reference.model, target, anomalies={"exp": {"overflow": 2, "nan": 1}, "norm": {"subnormal": 5}})
    runs = [run_of(Network(reference.stored_form(target))), run_of(session, Check.PRECISION, mode="fp16")]
    *others, precision = checker.prove(target, runs).comparisons
    assert precision.anomalies == {"exp": {"overflow": 2 * IMAGES, "nan": IMAGES}, "norm": {"subnormal": 5 * IMAGES}}
    assert [each.anomalies for each in others] == [{}, {}]


# --- wrong in one place ----------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(IMAGES))
def test_one_wrong_image_fails(reference: GraphReference, checker: ParityChecker, index: int) -> None:
    target = target_of()
    session = Exact(reference.model, target)
    session.change = lambda values: one_moved(0.001)(values) if len(session.seen) == index + 1 else values
    result = checker.prove(target, [run_of(session)])
    assert result.status == "fail"
    assert result.comparisons[0].measures.worst.input == list(standard_images(64, 64))[index]


@pytest.mark.parametrize("stride", ["stride16", "stride32", "stride64"])
def test_one_wrong_map_fails(reference: GraphReference, checker: ParityChecker, stride: str) -> None:
    class OneWrong(Exact):
        def run(self, image: Array) -> dict[str, Array]:
            maps = super().run(image)
            maps[stride][0, 2, 0, 0] += 0.001 * np.ptp(maps[stride])
            return maps

    target = target_of(output="features")
    result = checker.prove(target, [run_of(OneWrong(reference.model, target))])
    assert result.status == "fail"
    worst = result.comparisons[0].measures.worst
    assert (worst.output, worst.index) == (stride, (2, 0, 0))


def test_another_image_than_the_one_that_was_given_fails(reference: GraphReference, checker: ParityChecker) -> None:
    """An artifact that exchanges its colours, or its rows and columns."""

    class Transposed(Exact):
        def run(self, image: Array) -> dict[str, Array]:
            return super().run(image.transpose(0, 1, 3, 2).copy())

    class Bgr(Exact):
        def run(self, image: Array) -> dict[str, Array]:
            return super().run(image[:, ::-1].copy())

    target = target_of()
    for kind in (Transposed, Bgr):
        assert checker.prove(target, [run_of(kind(reference.model, target))]).status == "fail"


def test_an_output_of_another_shape_or_name_does_not_pass(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of()
    with pytest.raises(ParityFailed, match=r"has shape \(9,\); its shape should be \(10,\)"):
        checker.prove(target, [run_of(Exact(reference.model, target, lambda values: values[:, :-1]))])
    other = Exact(reference.model, target_of(output="probabilities"))
    with pytest.raises(ParityFailed, match="is missing"):
        checker.prove(target, [run_of(other)])


# --- probabilities ---------------------------------------------------------------------------------------


def with_logits_times(gain: float) -> GraphReference:
    """A network whose probabilities are all but 0 and 1."""
    model = untrained_model(ModelName(VARIANT), 10, 0)
    for path, parameter in model.named_parameters():
        if path.startswith("heads"):
            parameter.data *= gain
    return reference_to(model)


def proven(reference: GraphReference, target: Target, change: Change = lambda values: values) -> Parity:
    return ParityChecker(reference, NATIVE).prove(target, [run_of(Exact(reference.model, target, change))])


def test_probabilities_pass_as_the_logits_that_they_stand_for(reference: GraphReference) -> None:
    """An error of 1e-4 of the logits' range fails, however small it is in the probabilities."""
    target = target_of(output="probabilities")
    assert proven(reference, target).status == "pass"
    result = proven(reference, target, one_moved(1e-4))
    assert result.status == "fail"
    assert result.comparisons[0].measures.max_abs == pytest.approx(0.9e-4, rel=0.1)  # of ten, less its own mean


def test_a_shift_of_all_logits_is_none_to_a_softmax(reference: GraphReference) -> None:
    assert proven(reference, target_of(output="probabilities"), lambda values: values + 3).status == "pass"
    assert proven(reference, target_of(), lambda values: values + 3).status == "fail"


def test_a_wrong_logit_shows_where_its_probability_is_next_to_nothing() -> None:
    """Compared as probabilities, this artifact would pass."""
    largest = 0.0

    def change(values: Array) -> Array:
        nonlocal largest
        actual = values.copy()
        actual[0, values[0].argmin()] += 0.02 * np.ptp(values)
        before, after = (torch.softmax(torch.from_numpy(logits), 1) for logits in (values, actual))
        largest = max(largest, (before - after).abs().max().item())
        return actual

    result = proven(with_logits_times(10), target_of(output="probabilities"), change)
    assert result.status == "fail"
    assert largest < 1e-5


def test_probabilities_that_vanish_in_float32_are_no_failure() -> None:
    """With logits this far apart the smallest probability is 0 in float32, for every artifact."""
    reference, target = with_logits_times(60), target_of(output="probabilities")
    image = standard_images(64, 64)["astronaut"][None]
    assert Exact(reference.model, target).run(image)["probabilities"].min() == 0
    assert [each.status for each in proven(reference, target).comparisons] == ["pass"]


class HalfProbabilities(Exact):
    """Rounds its probabilities to fp16; below the smallest normal they are 0, as on much hardware."""

    def run(self, image: Array) -> dict[str, Array]:
        (values,) = super().run(image).values()
        rounded = values.astype(np.float16).astype(np.float32)
        return {"probabilities": np.where(rounded < 2.0**-14, 0, rounded)}


def test_probabilities_below_what_fp16_resolves_are_no_failure_of_an_fp16_artifact() -> None:
    reference = with_logits_times(3)
    half, single = (target_of("coreml", precision, "probabilities") for precision in ("fp16", "fp32"))
    session = HalfProbabilities(reference.model, half)
    image = standard_images(64, 64)["astronaut"][None]
    assert session.run(image)["probabilities"].min() == 0
    assert Exact(reference.model, half).run(image)["probabilities"].min() > 0
    checker = ParityChecker(reference, NATIVE)
    runs = [run_of(Network(reference.stored_form(half))), run_of(session, Check.PRECISION, mode="fp16")]
    assert checker.prove(half, runs).status == "pass"
    assert checker.prove(single, [run_of(session)]).status == "fail"


def test_a_wrong_probability_that_fp16_resolves_fails_an_fp16_artifact(
    reference: GraphReference, checker: ParityChecker
) -> None:
    target = target_of("coreml", "fp16", "probabilities")
    wrong = HalfProbabilities(reference.model, target, one_moved(0.1))
    runs = [run_of(Network(reference.stored_form(target))), run_of(wrong, Check.PRECISION, mode="fp16")]
    assert checker.prove(target, runs).comparisons[-1].status == "fail"


# --- sizes and batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(1, [1] * 12), (2, [2] * 6), (5, [5] * 3), (12, [12]), (16, [16]), (None, [1, 11])],
)
def test_images_come_in_the_batches_that_an_artifact_takes(
    reference: GraphReference, checker: ParityChecker, batch: int | None, expected: list[int]
) -> None:
    target = target_of(batch=batch)
    session = Exact(reference.model, target)
    assert checker.prove(target, [run_of(session)]).status == "pass"
    assert [len(image) for image in session.seen] == expected
    given = np.concatenate(session.seen)
    assert np.array_equal(given[:IMAGES], np.stack(list(standard_images(64, 64).values())))


@pytest.mark.parametrize("batch", [1, 5, None])
def test_a_wrong_last_place_of_any_batch_fails(
    reference: GraphReference, checker: ParityChecker, batch: int | None
) -> None:
    def change(values: Array) -> Array:
        values[-1] = one_moved(0.1)(values[-1:])
        return values

    target = target_of(batch=batch)
    assert checker.prove(target, [run_of(Exact(reference.model, target, change))]).status == "fail"


def test_a_batch_whose_images_are_exchanged_fails(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of(batch=2)
    assert checker.prove(target, [run_of(Exact(reference.model, target, lambda values: values[::-1]))]).status == "fail"


def test_a_dynamic_artifact_is_compared_at_three_sizes_two_not_square(reference: GraphReference) -> None:
    target, checker = target_of(size=(None, None)), ParityChecker(reference, 96)
    session = Exact(reference.model, target)
    result = checker.prove(target, [run_of(session)])
    assert result.status == "pass"
    assert [image.shape[2:] for image in session.seen] == [
        size for size in ((96, 96), (160, 224), (203, 131)) for _ in range(IMAGES)
    ]
    names = result.comparisons[0].inputs
    assert names[::IMAGES] == ("astronaut at 96x96", "astronaut at 160x224", "astronaut at 203x131")
    assert result.sensitivity is not None
    assert result.sensitivity.size == (96, 96)


@pytest.mark.parametrize("size", [(160, 224), (203, 131)])
def test_an_artifact_wrong_at_another_size_fails(reference: GraphReference, size: tuple[int, int]) -> None:
    target = target_of(size=(None, None))
    session = Exact(reference.model, target)
    session.change = lambda values: one_moved(0.1)(values) if session.seen[-1].shape[2:] == size else values
    result = ParityChecker(reference, 96).prove(target, [run_of(session)])
    assert result.status == "fail"
    assert "{}x{}".format(*size) in result.comparisons[0].measures.worst.input


def test_the_worst_input_of_a_dynamic_artifact_is_found_again(reference: GraphReference) -> None:
    target, checker = target_of(size=(None, None)), ParityChecker(reference, 96)
    (image,) = checker.input_batch(target, "black at 160x224")
    assert image.shape == (3, 160, 224)
    assert not image.any()


def test_large_images_are_three() -> None:
    reference, target = reference_of(VARIANT), target_of(size=(1024, 1024))
    session = Exact(reference.model, target)
    result = ParityChecker(reference, NATIVE).prove(target, [run_of(session)])
    assert result.comparisons[0].inputs == ("astronaut", "noise 0", "white")
    assert [image.shape for image in session.seen] == [(1, 3, 1024, 1024)] * 3


def test_a_normalised_input_is_fed_normalised(reference: GraphReference, checker: ParityChecker) -> None:
    target = target_of(preprocess=False)
    session = Exact(reference.model, target)
    assert checker.prove(target, [run_of(session)]).status == "pass"
    assert max(np.abs(image).max() for image in session.seen) < 3
    unaware = replace(target, preprocess=True)
    assert checker.prove(target, [run_of(Exact(reference.model, unaware))]).status == "fail"


def test_pictures_of_ones_own_are_compared_besides_the_stated_ones(reference: GraphReference, tmp_path: Path) -> None:
    Image.new("RGB", (90, 60), (10, 200, 30)).save(tmp_path / "grass.png")
    target, checker = target_of(), ParityChecker(reference, NATIVE, tmp_path)
    session = Exact(reference.model, target)
    result = checker.prove(target, [run_of(session)])
    assert result.comparisons[0].inputs == (*standard_images(64, 64), "grass.png")
    assert session.seen[-1][0, :, 5, 5].tolist() == [10, 200, 30]
    session.change = lambda values: one_moved(0.1)(values) if session.seen[-1][0, 1].max() == 200 else values
    assert checker.prove(target, [run_of(session)]).comparisons[0].measures.worst.input == "grass.png"


# --- what is computed once -------------------------------------------------------------------------------


def test_a_prover_keeps_targets_apart(reference: GraphReference) -> None:
    """One checker for different artifacts in turn: cached values of one are not used for another."""
    usual = target_of(batch=None)
    targets = [
        usual,
        replace(usual, precision="fp16"),
        replace(usual, preprocess=False),
        replace(usual, height=32, width=96),
        replace(usual, output="probabilities"),
        target_of(output="features", batch=None),
        usual,
    ]
    checker = ParityChecker(reference, NATIVE)
    for target in targets:
        alone = ParityChecker(reference, NATIVE).prove(target, exact_runs(reference, target))
        assert checker.prove(target, exact_runs(reference, target)) == alone
        assert {each.status for each in alone.comparisons} == {"pass"}
