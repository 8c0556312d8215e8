"""Comparison operation by operation: correct artifacts have no divergence, changed ones the right divergence."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from networks import pixels, random_network, tiny
from rich.console import Console
from simulated import reference_of, reference_to, target_of, with_noise
from stored_weights import StoredLocation, change_one, opened, places

import exporters
import runtimes
from evim_deploy.artifact.target import Target
from evim_deploy.artifact.trace import HALF, SINGLE, Arrays, Trace, TracedOperation
from evim_deploy.catalog.variants import VARIANTS, ModelName
from evim_deploy.cli.layers import show_layers
from evim_deploy.graph.interpreter import fake_quantise, step, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.images import photographs
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.proof.operations.compare import compare_operations
from evim_deploy.proof.operations.mismatched_weights import mismatched_weights
from evim_deploy.proof.operations.op_comparison import MARGIN
from evim_deploy.proof.operations.report import OpReport, OpsReport

Image = npt.NDArray[np.float32]

FORMATS = ("onnx", "tflite", "coreml")
COMBINATIONS = [(format_, precision) for format_ in FORMATS for precision in ("fp32", "fp16")]
OF_M4 = [
    pytest.param(format_, precision, marks=pytest.mark.slow if usual else pytest.mark.exhaustive)
    for format_, precision in COMBINATIONS
    for usual in [(format_, precision) == ("coreml", "fp16")]
]
SIZE = (48, 80)
CLASSES = 5
SMALL = {"depths": (1, 1, 1), "channels": (16, 24, 32)}


def image_of(target: Target, seed: int = 0) -> Image:
    """Integer pixel values, as in an image."""
    height, width = target.height, target.width
    assert height is not None
    assert width is not None
    result = pixels(seed, height, width, target.batch or 1).round()
    return (result if target.preprocess else result / 128 - 1).float().numpy()


def build(reference: GraphReference, target: Target, folder: Path) -> Path:
    row = exporters.FORMATS[target.format]
    path = folder / f"{target.precision}{row.suffix}"
    exporters.load(row).build(reference.stored_form(target), target, path)
    return path


def layers(reference: GraphReference, target: Target, trace: Trace, image: Image) -> OpsReport:
    return compare_operations(
        reference.model,
        graph=reference.inference(target),
        exported=reference.stored_form(target),
        target=target,
        trace=trace,
        image=image,
    )


def report(reference: GraphReference, target: Target, path: Path, mode: str | None = None, seed: int = 0) -> OpsReport:
    image = image_of(target, seed)
    return layers(reference, target, runtimes.trace(path, image, mode=mode), image)


# --- sound artifacts name nothing ------------------------------------------------------------------------

VARIETY = [
    pytest.param(seed, options, id="-".join(map(str, (seed, *options.values()))), marks=marks)
    for seed, options, marks in (
        (0, {}, ()),
        (1, {"size": (33, 95), "output": "features"}, ()),
        (2, {"size": (64, 96), "output": "probabilities", "batch": 2}, pytest.mark.slow),
        (3, {"size": (160, 48), "preprocess": False}, pytest.mark.slow),
        (4, {"size": (32, 32)}, pytest.mark.exhaustive),
        (5, {"size": (224, 224), "output": "probabilities"}, pytest.mark.exhaustive),
        (6, {"size": (65, 129)}, pytest.mark.exhaustive),
    )
]


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
@pytest.mark.parametrize(("seed", "options"), VARIETY)
def test_a_sound_artifact_names_no_operation(
    tmp_path: Path, format_: str, precision: str, seed: int, options: dict[str, object]
) -> None:
    """In every mode, for all operations, with a wide margin, from which the bound was set."""
    reference = reference_to(random_network(tiny(seed), seed, CLASSES, distilled=seed % 2 == 1))
    target = target_of(format_, precision, **{"size": SIZE, **options}, classes=CLASSES)  # type: ignore[arg-type]
    path = build(reference, target, tmp_path)
    for mode in runtimes.tracing_engine(path).modes:
        result = report(reference, target, path, mode, seed)
        assert (result.status, result.unmatched) == ("pass", ())
        assert max(layer.excess for layer in result.ops) < 0.75
        assert len({layer.name for layer in result.ops}) == len(result.ops)
        # every operation of the graph has a row, but for what TFLite computes in one, or leaves out as it moves nothing
        rows = {name for layer in result.ops for name in (layer.name, *layer.fused)}
        left_out = {node.op for node in reference.rewritten(target)[0].nodes if node.name not in rows}
        assert left_out <= ({"flatten", "unflatten", "mean"} if format_ == "tflite" else set())
        assert {layer.op for layer in result.ops if layer.fused} == ({"conv"} if format_ == "tflite" else set())


def test_stages_are_those_of_the_model(tmp_path: Path) -> None:
    reference, target = reference_of(tiny(0, depths=(2, 1, 1))), target_of("onnx", "fp32", "probabilities", SIZE)
    result = report(reference, target, build(reference, target, tmp_path))
    assert [stage.name for stage in result.stages] == [
        "patch_embed",
        "stages.0.blocks.0",
        "stages.0.blocks.1",
        "stages.0.downsample",
        "stages.1.blocks.0",
        "stages.1.downsample",
        "stages.2.blocks.0",
        "probabilities",
    ]
    assert all(stage.error is not None and 0 < stage.error < 1e-5 for stage in result.stages)
    assert all(stage.rewriting < 1e-12 for stage in result.stages)


# --- one changed weight, in the artifact's own file ------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return reference_of(tiny(3, **SMALL), classes=CLASSES)


@pytest.fixture(scope="module")
def sound(reference: GraphReference, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folders = {each: tmp_path_factory.mktemp("-".join(each)) for each in COMBINATIONS}
    return {each: build(reference, small(*each), folder) for each, folder in folders.items()}


def small(format_: str, precision: str) -> Target:
    return target_of(format_, precision, size=SIZE, classes=CLASSES)


def changed(artifact: Path, folder: Path, *where: StoredLocation) -> Path:
    """A copy of an artifact with one weight of each of these arrays changed."""
    copy = folder / f"changed_{artifact.name}"
    (shutil.copytree if artifact.is_dir() else shutil.copy)(artifact, copy)
    for place in where:
        change_one(copy, place)
    return copy


def changes(
    reference: GraphReference, target: Target, artifact: Path, folder: Path, every: int = 1
) -> Iterator[tuple[str, str, Path]]:
    """Every n-th operation with weights, with one value of each array changed: name, weight, artifact."""
    graph = reference.stored_form(target)
    sample = Graph(graph.input_name, [node for node in graph.nodes if node.weights][::every])
    for (name, weight), place in places(artifact, sample, target.precision).items():
        path = changed(artifact, folder, place)
        yield name, weight, path
        shutil.rmtree(path) if path.is_dir() else path.unlink()


EVERY_LAYER = [
    pytest.param(format_, precision, every, marks=[pytest.mark.exhaustive] if every == 1 else [])
    for format_, precision in COMBINATIONS
    for every in ((4, 1) if precision == exporters.FORMATS[format_].precisions[0] else (6,))
]
"""Of the precision that a format is exported in by default one in four, of the other one in six; and each layer."""


@pytest.mark.parametrize(("format_", "precision", "every"), EVERY_LAYER)
def test_a_changed_weight_is_named(
    reference: GraphReference,
    sound: dict[tuple[str, str], Path],
    tmp_path: Path,
    format_: str,
    precision: str,
    every: int,
) -> None:
    """Each array of each layer in turn, or of every n-th layer."""
    target, artifact = small(format_, precision), sound[format_, precision]
    assert report(reference, target, artifact).first is None
    tried = []
    for name, weight, path in changes(reference, target, artifact, tmp_path, every):
        result = report(reference, target, path)
        assert result.first is not None, name
        assert result.first.name == name
        assert result.first.cause.startswith("mismatched weights: 1 of ")
        assert f"values of the {weight} differs" in result.first.cause
        assert result.status == "fail"
        tried.append((name, weight))
    arrays = [(node.name, weight) for node in reference.stored_form(target).nodes for weight in node.weights]
    if every == 1:  # but for single numbers, which stand in many places
        assert all(name.endswith("gated.shifted") for name, _ in set(arrays).difference(tried))


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_a_changed_weight_is_named_by_its_effect_alone(
    reference: GraphReference, sound: dict[tuple[str, str], Path], tmp_path: Path, format_: str, precision: str
) -> None:
    """Without a comparison of stored weights: at the layer if the change has an effect, and nowhere else."""
    target, image = small(format_, precision), image_of(small(format_, precision))

    def blindly(path: Path) -> OpsReport:
        trace = runtimes.trace(path, image, mode="fp32")
        blind = replace(trace, operations=tuple(replace(each, weights=()) for each in trace.operations))
        return layers(reference, target, blind, image)

    untouched = [layer.cumulative for layer in blindly(sound[format_, precision]).ops]
    effects = []
    for name, _, path in changes(reference, target, sound[format_, precision], tmp_path, every=8):
        result = blindly(path)
        effects.append([layer.cumulative for layer in result.ops] != untouched)  # a ReLU may take it away
        assert [layer.name for layer in result.ops if layer.diverges] == [name] * effects[-1]
    assert sum(effects) >= 10


def test_of_two_changed_weights_the_first_is_named(
    reference: GraphReference, sound: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    target = small("tflite", "fp16")
    artifact = sound["tflite", "fp16"]
    actual = places(artifact, reference.stored_form(target), "fp16")
    late, early = "stages.2.blocks.0.ffn.fc2.conv", "stages.1.blocks.0.mixer.BCdt_proj"
    result = report(reference, target, changed(artifact, tmp_path, actual[late, "kernel"], actual[early, "bias"]))
    assert [layer.name for layer in result.ops if layer.diverges] == [early, late]
    assert result.first is not None
    assert result.first.name == early
    assert result.first.place == "stage 1, block 0, mixer"


def test_a_weight_that_is_not_finite_is_mismatched_and_not_an_overflow(
    reference: GraphReference, sound: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    target = small("onnx", "fp16")
    place = places(sound["onnx", "fp16"], reference.stored_form(target), "fp16")[
        "stages.0.blocks.0.dwconv2.conv", "kernel"
    ]
    path = changed(sound["onnx", "fp16"], tmp_path)
    with opened(path, place) as stored:
        stored[3] = np.inf
    result = report(reference, target, path)
    assert result.first is not None
    assert result.first.name == "stages.0.blocks.0.dwconv2.conv"
    assert result.first.cause == "mismatched weights: 1 of 144 values of the kernel differs, by inf"


@pytest.mark.parametrize("format_", FORMATS)
def test_an_artifact_of_other_weights_is_wrong_from_its_first_convolution(
    reference: GraphReference, tmp_path: Path, format_: str
) -> None:
    other, target = reference_of(tiny(3, **SMALL), seed=1, classes=CLASSES), small(format_, "fp16")
    result = report(reference, target, build(other, target, tmp_path))
    assert result.first is not None
    assert result.first.name == "patch_embed.conv.0.conv"
    assert result.first.cause.startswith("mismatched weights: ")


@pytest.mark.parametrize(("format_", "precision"), OF_M4)
def test_a_changed_weight_of_m4_is_named(tmp_path: Path, format_: str, precision: str) -> None:
    reference = reference_to(untrained_model(ModelName(VARIANTS["m4"], False), 1000, 0))
    target = target_of(format_, precision, "probabilities", (256, 256), classes=1000)
    path = build(reference, target, tmp_path)
    image = photographs.load("cat", 256, 256).transpose(2, 0, 1)[None].astype(np.float32)
    assert layers(reference, target, runtimes.trace(path, image), image).status == "pass"
    for name, _, each in changes(reference, target, path, tmp_path, every=33):
        result = layers(reference, target, runtimes.trace(each, image), image)
        assert result.first is not None
        assert result.first.name == name


# --- divergences, from simulated traces --------------------------------------------

Change = Callable[[torch.Tensor], torch.Tensor]


def simulated_trace(
    graph: Graph,
    image: Image,
    change: Mapping[str, Change] | None = None,
    rounding: float = SINGLE,
    rename: Callable[[str], str] = str,
) -> Trace:
    """The trace of a file with each operation of a graph, in float32 and quantised as the graph, some changed."""
    operations = [
        TracedOperation(
            type=node.op.upper(),
            names=(rename(node.name),),
            weights=tuple(array.astype(np.float32) for array in node.weights.values()),
            rounding=rounding,
            accumulation=SINGLE,
        )
        for node in graph.nodes
    ]

    def compute(expected: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        values = fake_quantise({graph.input_name: torch.from_numpy(image)}, graph.qparams)
        weights = tensors(graph, torch.float32)
        for index, node in enumerate(graph.nodes):
            result = fake_quantise(step(node, weights[node.name], values), graph.qparams)
            if change and node.name in change:
                changed = [change[node.name](value) for value in result.values()]
                result = dict(zip(result, changed, strict=True))
            if rounding == HALF:
                result = {name: value.half().float() for name, value in result.items()}
            values.update(result)
            if index in expected:
                assert expected[index] == sum(4 * value.numel() for value in result.values())
                yield index, tuple(value.numpy() for value in result.values())

    return Trace(tuple(operations), compute)


@pytest.fixture(scope="module")
def target() -> Target:
    return small("onnx", "fp32")


@pytest.fixture(scope="module")
def graph(reference: GraphReference, target: Target) -> Graph:
    return reference.rewritten(target)[0]


@pytest.fixture(scope="module")
def image(target: Target) -> Image:
    return image_of(target)


def doubled_in_one_place(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y.view(-1)[7] *= 1.01
    return y


def with_infinities(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x == x.max(), torch.inf, x)


MIXER = "stages.1.blocks.0.mixer"
CAUSES = [
    ("stages.0.blocks.0.residual1.rescaled", doubled_in_one_place, "no known cause"),
    ("stages.0.blocks.0.norm", lambda x: x.mT.reshape(x.shape), "wrong axis: the values are correct, in another"),
    (f"{MIXER}.y.map", lambda x: x.flip(1), "wrong axis: the values are correct, in another order"),
    ("heads.3.sum.features", lambda x: x.roll(3, 1), "wrong axis: the values are correct, in another order"),
]


@pytest.mark.parametrize(("name", "change", "cause"), CAUSES)
def test_the_likely_cause(
    reference: GraphReference, target: Target, graph: Graph, image: Image, name: str, change: Change, cause: str
) -> None:
    result = layers(reference, target, simulated_trace(graph, image, {name: change}), image)
    assert [layer.name for layer in result.ops if layer.diverges] == [name]
    assert result.first is not None
    assert result.first.cause.startswith(cause)
    assert f"First divergence: {name} (" in str(result)


def test_what_is_not_finite_in_half_precision_is_an_overflow(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    trace = simulated_trace(graph, image, {"stages.1.blocks.0.dwconv2.conv": with_infinities}, HALF)
    result = layers(reference, target, trace, image)
    assert result.first is not None
    assert result.first.name == "stages.1.blocks.0.dwconv2.conv"
    assert result.first.cause.startswith("overflow: float16 ends at 65504; 1 of ")
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["first"] == result.first.name
    (row,) = [layer for layer in document["layers"] if layer["name"] == result.first.name]
    assert (row["local"], row["cumulative"]) == (None, None)


@pytest.mark.parametrize(
    ("name", "axis", "exchanged"), [(f"{MIXER}.importance", 1, "1 and 2"), ("stages.0.blocks.0.norm", 3, "1 and 3")]
)
def test_an_operation_over_another_axis(
    reference: GraphReference, target: Target, graph: Graph, image: Image, name: str, axis: int, exchanged: str
) -> None:
    """A softmax over the states instead of the tokens; a LayerNorm over a row of pixels."""
    (node,) = [node for node in graph.nodes if node.name == name]
    taken: dict[str, torch.Tensor] = {}
    before = graph.producer(node.inputs[0])
    assert before is not None

    def keep(x: torch.Tensor) -> torch.Tensor:
        taken["x"] = x  # of a split the last, which is what the softmax takes
        return x

    def over_another(_: torch.Tensor) -> torch.Tensor:
        x = taken["x"]
        if node.op == "softmax_tokens":
            return torch.softmax(x, axis)
        return (x - x.mean(axis, keepdim=True)) / (x.var(axis, correction=0, keepdim=True) + node.eps()).sqrt()

    trace = simulated_trace(graph, image, {before.name: keep, name: over_another})
    result = layers(reference, target, trace, image)
    assert [layer.name for layer in result.ops if layer.diverges] == [name]
    assert result.first is not None
    assert result.first.cause == f"wrong axis: the values are those with axes {exchanged} exchanged"


def test_a_transposed_kernel(reference: GraphReference, target: Target, graph: Graph, image: Image) -> None:
    """The values are the checkpoint's, so no weight is mismatched."""
    name = f"{MIXER}.out_proj"
    (node,) = [node for node in graph.nodes if node.name == name]
    wrong = graph.copy()
    wrong.substitute(node, node.with_weights(kernel=node.weights["kernel"].T.copy()))
    result = layers(reference, target, simulated_trace(wrong, image), image)
    assert [(layer.name, layer.cause) for layer in result.ops if layer.diverges] == [
        (name, "wrong axis: the values are those with its kernel transposed")
    ]


def test_a_value_of_another_size(reference: GraphReference, target: Target, graph: Graph, image: Image) -> None:
    """The operation diverges, and later ones are compared on the expected values."""

    def widened(trace: Trace) -> Trace:
        def compute(expected: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
            for index, arrays in trace.compute(expected):
                cut = trace.operations[index].names == ("patch_embed.conv.1.relu",)
                yield index, tuple(array[..., 1:] for array in arrays) if cut else arrays

        return Trace(trace.operations, compute)

    result = layers(reference, target, widened(simulated_trace(graph, image)), image)
    assert [layer.name for layer in result.ops if layer.diverges] == ["patch_embed.conv.1.relu"]
    assert result.first is not None
    assert result.first.cause == "wrong shape: (1, 4, 12, 19)"


def test_a_wrong_rewriting_is_distinguished_from_a_wrong_artifact(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    """The artifact equals its graph, and the graph differs from the model."""
    wrong = with_noise(graph, "stages.1.blocks.0.ffn.fc1.conv", 1e-3)
    result = compare_operations(
        reference.model, graph=wrong, exported=wrong, target=target, trace=simulated_trace(wrong, image), image=image
    )
    assert result.first is None
    assert result.first_wrong_rewriting is not None
    assert result.first_wrong_rewriting.name == "stages.1.blocks.0"
    assert result.status == "fail"
    assert "The rewritten graph differs from the model from stages.1.blocks.0 on" in str(result)


def test_names_in_which_a_format_allows_no_dots(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    result = layers(reference, target, simulated_trace(graph, image, rename=lambda name: name.replace(".", "_")), image)
    assert (result.status, len(result.ops)) == ("pass", len(graph.nodes))


def test_an_operation_that_the_file_does_not_name_is_reported(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    """Its values are checked in later operations, but the gap is reported."""
    name = "stages.2.blocks.0.ffn.fc1.conv"
    trace = simulated_trace(graph, image, rename=lambda each: "Conv_17" if each == name else each)
    result = layers(reference, target, trace, image)
    assert (result.status, result.unmatched) == ("incomplete", (name,))
    assert f"Missing in the file: 1 operations of the model ({name})." in str(result)
    wrong = with_noise(graph, name, 0.01)
    trace = simulated_trace(wrong, image, rename=lambda each: "Conv_17" if each == name else each)
    result = layers(reference, target, trace, image)
    assert result.first is not None
    assert result.first.name == "stages.2.blocks.0.ffn.relu"


def test_of_a_file_without_a_name_of_ours_nothing_is_claimed(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    trace = simulated_trace(graph, image, rename=lambda name: f"/model/{abs(hash(name))}")
    result = layers(reference, target, trace, image)
    assert (result.status, result.ops, len(result.unmatched)) == ("not_run", (), len(graph.nodes))
    assert "Nothing was compared" in str(result)


def test_an_operation_on_values_that_are_not_finite_is_inconclusive() -> None:
    """With infinite inputs the bound explains any error."""
    sound = OpReport(
        name="head",
        op="linear",
        place="classifier",
        type="Gemm",
        fused=(),
        cumulative=0.0,
        local=0.0,
        bound=1e-6,
        cause="",
    )
    result = OpsReport(stages=(), ops=(sound, replace(sound, name="lost", bound=inf)), unmatched=(), file_operations=2)
    assert (result.status, result.inconclusive) == ("incomplete", ["lost"])
    assert "Inconclusive, because their inputs are not finite: 1 operations of the model (lost)." in str(result)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["unjudged"] == ["lost"]


# --- what rounding explains ------------------------------------------------------------------------------


def test_the_explained_error_of_a_sum_is_that_of_its_terms(
    reference: GraphReference, target: Target, graph: Graph
) -> None:
    """For a 1x1 convolution: the margin times sqrt(n) roundoffs of the sum of |w| |x|, and one roundoff of |y|."""
    name = "stages.0.blocks.0.ffn.fc2.conv"
    image = image_of(target)
    (node,) = [node for node in graph.nodes if node.name == name]
    taken: list[torch.Tensor] = []
    trace = simulated_trace(graph, image, {"stages.0.blocks.0.ffn.relu": lambda x: taken.append(x) or x})
    result = layers(reference, target, trace, image)
    (layer,) = [layer for layer in result.ops if layer.name == name]
    x, kernel, bias = taken[0].double().numpy(), node.weights["kernel"][..., 0, 0], node.weights["bias"]
    y = np.einsum("oi,bihw->bohw", kernel, x) + bias[:, None, None]
    terms = np.einsum("oi,bihw->bohw", np.abs(kernel), np.abs(x)) + np.abs(bias)[:, None, None]
    explained = MARGIN * SINGLE * (np.sqrt(kernel.shape[1]) * terms + np.abs(y)) / np.abs(y).max()
    assert np.isclose(explained, layer.bound, rtol=1e-9).any()


def test_a_long_sum_of_like_terms_in_order_is_explained(reference: GraphReference) -> None:
    """The worst case of a plain image: every addition rounds in the same direction."""
    target = target_of("onnx", "fp32", "features", (256, 256))
    graph = reference.rewritten(target)[0]
    image = np.full((1, 3, 256, 256), 255, np.float32)
    name = "stages.0.blocks.0.mixer.h_in"
    taken: dict[str, torch.Tensor] = {}

    def keep(key: str) -> Change:
        return lambda x: taken.update({key: x}) or x

    def in_order(_: torch.Tensor) -> torch.Tensor:
        u, w = taken["u"].numpy(), taken["AB"].numpy()
        total = np.zeros((1, u.shape[1], w.shape[1]), np.float32)
        for token in range(u.shape[2]):
            total += u[:, :, None, token] * w[:, None, :, token]
        return torch.from_numpy(total)

    change = {"stages.0.blocks.0.mixer.u": keep("u"), "stages.0.blocks.0.mixer.AB": keep("AB"), name: in_order}
    result = layers(reference, target, simulated_trace(graph, image, change), image)
    assert result.first is None


# --- stored weights --------------------------------------------------------------------------------------


def stale(graph: Graph, *stored: npt.NDArray[np.floating]) -> list[str]:
    nodes = [node for node in graph.nodes if node.name == "stages.0.blocks.0.dwconv2.conv"]
    return [str(each) for each in mismatched_weights(nodes, stored)]


def test_stored_weights_are_compared_in_any_layout(graph: Graph) -> None:
    (node,) = [node for node in graph.nodes if node.name == "stages.0.blocks.0.dwconv2.conv"]
    kernel, bias = (node.weights[name].astype(np.float32) for name in ("kernel", "bias"))
    assert stale(graph, kernel.transpose(2, 3, 1, 0), bias) == []
    assert stale(graph, bias, np.zeros(16, np.float32), kernel.ravel()[::-1]) == []  # a bias of zeros beside it
    assert stale(graph, np.nextafter(kernel, np.float32(2)), bias) == []  # rounded otherwise
    assert stale(graph, kernel.astype(np.float16), bias) == []

    wrong = kernel.copy()
    wrong[5, 0, 1, 1] += 0.25
    assert stale(graph, wrong, bias) == ["1 of 144 values of the kernel differs, by 0.25"]
    wrong[5, 0, 1, 1] = np.nan
    assert stale(graph, wrong, bias) == ["1 of 144 values of the kernel differs, by inf"]
    assert stale(graph, kernel, np.zeros(16, np.float32))[0].startswith("16 of 16 values of the bias differ, by up to")
    repeated = kernel.copy()
    repeated[3] = repeated[4]  # each is a value of the checkpoint's, some of them too often
    assert stale(graph, repeated, bias)[0].startswith("9 of 144 values of the kernel differ")


# --- for people ------------------------------------------------------------------------------------------


def shown(result: OpsReport) -> str:
    stream = io.StringIO()
    show_layers(Console(file=stream, width=120), result)
    return stream.getvalue()


def test_a_sound_artifact_is_shown_by_its_stages_and_worst_operations(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    text = shown(layers(reference, target, simulated_trace(graph, image), image))
    assert "stages.2.blocks.0 " in text
    assert text.count("CONV") <= 5
    assert "No operation diverges" in text


def test_a_divergence_is_shown_with_what_stands_around_it(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    name = "stages.0.blocks.0.residual1.rescaled"
    text = shown(layers(reference, target, simulated_trace(graph, image, {name: doubled_in_one_place}), image))
    names = [node.name for node in graph.nodes]
    at = names.index(name)
    assert all(each in text for each in names[at - 3 : at + 3])
    assert names[at - 4] not in text.replace(f"{name}.", "")
    assert "First divergence: stages.0.blocks.0.residual1.rescaled (add, ADD in the file), stage 0, block 0: " in text


def test_what_could_not_be_compared_is_shown_as_such(
    reference: GraphReference, target: Target, graph: Graph, image: Image
) -> None:
    trace = simulated_trace(graph, image, rename=lambda name: "x")
    assert shown(layers(reference, target, trace, image)).startswith("  Nothing was compared: none of the file's ")
