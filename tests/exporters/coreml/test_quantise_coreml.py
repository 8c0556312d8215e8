"""Quantised Core ML packages: quantised weights, outputs of the simulated graph, and accuracy on digits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_packages import Program, changed
from networks import random_tiny

import runtimes
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.variants import DIGITS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.formats import read
from evim_deploy.formats.coreml import model_path, read_spec
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.ops import infer_shapes
from evim_deploy.graph.quantised import AffineQuantised, Palettised
from evim_deploy.images import digits
from evim_deploy.images.preprocessing import PAPER
from evim_deploy.inspection import inspect
from evim_deploy.inspection.rules import Severity
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.weights import resolve
from evim_deploy.proof.operations.alignment import align
from evim_deploy.proof.stored_weights import compare_weights
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import PHOTOGRAPHS, CalibrationImages
from evim_deploy.quantise.placement import VIEWS
from evim_deploy.quantise.quantise_graph import quantise_graph
from evim_deploy.quantise.schemes import SCHEMES
from exporters.coreml import graph as coreml
from exporters.coreml.quantised import _packed
from runtimes import mil
from training.fit import accuracy, as_an_app_feeds_it

SIDE = 64
PRECISIONS = [precision for format_, precision in SCHEMES if format_ == "coreml"]
ROUNDINGS = 3e-5  # relative to the range of the logits: float32 sums in another order, as in the tolerances
ALLOWED_LOSS = 0.5  # percentage points of top-1 accuracy
DIGITS_BATCH = 100

Array = np.ndarray[Any, Any]


def target(precision: str, **changes: Any) -> Target:
    made = Target(
        format="coreml",
        precision=precision,
        height=SIDE,
        width=SIDE,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=(),
    )
    needed = SCHEMES["coreml", precision].deployment_target or None
    return replace(made, **{"quantisation": Quantisation(), "deployment_target": needed, **changes})


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    """A tiny network that is wide enough for weight groups of 32."""
    model = random_tiny(0, channels=(32, 24, 64), depths=(1, 1, 1))
    return GraphReference(model=model.float(), weights=Weights("random:0", False, ""))


@pytest.fixture(scope="module")
def images() -> Array:
    found = CalibrationImages(source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=True)
    return np.concatenate(list(found)).astype(np.float32)


def simulated(reference: GraphReference, images: Array, made: Target) -> Graph:
    scheme, graph = SCHEMES["coreml", made.precision], reference.inference(made)
    qparams = calibrate(graph, scheme, (image[None] for image in images), made.preprocess)
    return quantise_graph(graph, scheme, qparams)


@pytest.fixture(scope="module")
def graphs(reference: GraphReference, images: Array) -> dict[str, Graph]:
    return {precision: simulated(reference, images, target(precision)) for precision in PRECISIONS}


@pytest.fixture(scope="module")
def packages(graphs: dict[str, Graph], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quantised")
    paths = {precision: folder / f"{precision}.mlpackage" for precision in graphs}
    for precision, path in paths.items():
        coreml.build(graphs[precision], target(precision), path)
    return paths


def answers(path: Path, images: Array, mode: str) -> Array:
    with mil.open_session(path, mode) as session:
        return np.concatenate([session.run(image[None])["logits"] for image in images])


def gap(found: Array, graph: Graph, images: Array) -> float:
    """The largest difference from the simulated graph's logits, relative to their range."""
    expected = torch.cat([evaluate(graph, torch.from_numpy(image[None]))["logits"] for image in images]).numpy()
    return float(np.abs(found - expected).max() / np.ptp(expected))


def weights_of(path: Path) -> Path:
    return model_path(path).parent / "weights" / "weight.bin"


def counted(path: Path) -> Counter[str]:
    return read(path).operations


# --- content of a package


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_encoding_becomes_a_constexpr_operation(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path]
) -> None:
    encodings = Counter(type(each) for node in graphs[precision].nodes for each in node.encodings.values())
    linear = "constexpr_blockwise_shift_scale" if precision == "int4" else "constexpr_affine_dequantize"
    found = counted(packages[precision])
    assert sum(encodings.values()) > 20
    assert (found[linear], found["constexpr_lut_to_dense"]) == (encodings[AffineQuantised], encodings[Palettised])
    assert Counter(op for op in found if op.startswith("constexpr")).total() == len(+encodings)
    assert found["cast"] == 1  # the cast of the image: weights are decoded in the type of their consumers


@pytest.mark.parametrize(("precision", "version"), [("int8", 7), ("pal4", 7), ("w8a8", 8), ("int4", 9)])
def test_precision_determines_the_specification_version(
    precision: str, version: int, packages: dict[str, Path]
) -> None:
    assert read_spec(packages[precision]).specificationVersion == version


def test_quantised_values_except_views_have_quantize_dequantize_pairs(
    graphs: dict[str, Graph], packages: dict[str, Path]
) -> None:
    graph, found = graphs["w8a8"], counted(packages["w8a8"])
    rounded = [node.name for node in graph.nodes if node.name in graph.qparams and node.op not in VIEWS]
    assert found["quantize"] == found["dequantize"] == len(rounded) > 20
    (function,) = read(packages["w8a8"]).functions
    by_output = {value.name: op for op in function.operations for value in op.outputs}
    kept = [node.name for node in graph.nodes if node.op == "pointwise_conv"]
    for op in (op for op in function.operations if op.type == "conv"):
        takes_codes = by_output[op.inputs[0].name].type == "dequantize"
        assert takes_codes != any(op.name.startswith(name.replace(".", "_")) for name in kept), op.name


@pytest.mark.parametrize("precision", ["int8", "pal4"])
def test_ios18_operations_hold_the_same_weights(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path], images: Array, tmp_path: Path
) -> None:
    path = tmp_path / "new.mlpackage"
    coreml.build(graphs[precision], target(precision, deployment_target="iOS18"), path)
    assert "constexpr_affine_dequantize" not in counted(path)
    assert np.array_equal(answers(path, images[:1], "fp32"), answers(packages[precision], images[:1], "fp32"))


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_integers_are_packed_from_the_least_significant_bit(bits: int) -> None:
    codes = np.random.RandomState(0).randint(0, 2**bits, 13).astype(np.uint8)
    number = int.from_bytes(_packed(codes, bits).tobytes(), "little")
    assert [number >> bits * i & 2**bits - 1 for i in range(13)] == codes.tolist()
    assert len(_packed(codes, bits)) == -(-13 * bits // 8)


# --- outputs


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_match_the_simulated_graph(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path], images: Array
) -> None:
    assert gap(answers(packages[precision], images, "fp32"), graphs[precision], images) < ROUNDINGS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_differ_from_the_graph_of_another_precision(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path], images: Array
) -> None:
    other = graphs["pal8" if precision == "int8" else "int8"]
    assert gap(answers(packages[precision], images[:1], "fp32"), other, images[:1]) > 10 * ROUNDINGS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_float16_error_is_as_small_as_with_float_weights(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path], images: Array
) -> None:
    """The tolerance is larger for quantised activations: float16 may round a value near a tie to the next integer."""
    allowed = 0.2 if precision == "w8a8" else 2e-2  # measured in eight tiny variants: up to 0.1 and 4e-3
    for mode in ("fp16", "ane"):
        assert 0 < gap(answers(packages[precision], images[:1], mode), graphs[precision], images[:1]) < allowed


def test_tensor_input_is_quantised(reference: GraphReference, images: Array, tmp_path: Path) -> None:
    made = target("w8a8", preprocess=False)
    normalised = ((images / 255 - 0.45) / 0.22).astype(np.float32)
    graph = simulated(reference, normalised, made)
    coreml.build(graph, made, tmp_path / "a.mlpackage")
    assert graph.input_name in graph.qparams
    assert gap(answers(tmp_path / "a.mlpackage", normalised, "fp32"), graph, normalised) < ROUNDINGS
    found = align(graph, mil.read_operations(tmp_path / "a.mlpackage", "fp32"), infer_shapes(graph, (1, 3, SIDE, SIDE)))
    assert found.image is not None


def test_feature_maps_have_their_names(reference: GraphReference, images: Array, tmp_path: Path) -> None:
    made = target("w8a8", task="features", output="features")
    graph = simulated(reference, images, made)
    coreml.build(graph, made, tmp_path / "maps.mlpackage")
    assert set(graph.outputs.values()) & graph.qparams.keys()
    with mil.open_session(tmp_path / "maps.mlpackage", "fp32") as session:
        found = session.run(images[:1])
    expected = evaluate(graph, torch.from_numpy(images[:1]))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(found[name] - value.numpy()).max() < ROUNDINGS * np.ptp(value.numpy())


# --- comparison and inspection


@pytest.mark.parametrize("precision", PRECISIONS)
def test_decoded_weights_match_and_all_operations_align(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path]
) -> None:
    graph, operations = graphs[precision], runtimes.read_operations(packages[precision])
    stored = compare_weights(graph, operations)
    assert (stored.changed, stored.compared) == ((), sum(len(node.weights) for node in graph.nodes))
    found = align(graph, operations, infer_shapes(graph, (1, 3, SIDE, SIDE)))
    assert (found.unmatched, len(found.matched)) == ((), len(graph.nodes))


def test_operations_of_quantised_values_end_in_quantize_dequantize(
    packages: dict[str, Path], graphs: dict[str, Graph]
) -> None:
    graph, operations = graphs["w8a8"], runtimes.read_operations(packages["w8a8"])
    rows = align(graph, operations, infer_shapes(graph, (1, 3, SIDE, SIDE))).matched
    for node in graph.nodes:
        if node.name in graph.qparams and node.op not in VIEWS:
            types = [operations[index].type for index in rows[node.name].operations]
            assert types[-2:] == ["quantize", "dequantize"], node.name


def place(program: Program, path: Path, kind: str, parameter: str) -> tuple[Path, int]:
    """The weights file, and the byte offset of a parameter of the operation that decodes a kernel."""
    name = "stages_0_blocks_0_ffn_fc1_conv"
    ops = program.block.operations
    (op,) = [op for op in ops if op.type == kind and op.outputs[0].name.startswith(name)]
    value = op.attributes[parameter] if parameter in op.attributes else op.inputs[parameter].arguments[0].value
    member = weights_of(path)
    header = np.frombuffer(member.read_bytes(), "<u8", 3, value.blobFileValue.offset)
    return member, int(header[2])  # the header holds a magic number with the type, the size and the offset


def _moved(dtype: str, change: Callable[[Array], Any]) -> Callable[[Path, int], None]:
    def apply(member: Path, offset: int) -> None:
        content = bytearray(member.read_bytes())
        stored = np.frombuffer(content, dtype, 1, offset)
        change(stored)
        member.write_bytes(content)

    return apply


def _other_code(stored: Array) -> None:
    stored ^= 1


def _larger(stored: Array) -> None:
    stored *= 1.05


@pytest.mark.parametrize(
    ("precision", "kind", "parameter", "change"),
    [
        ("int8", "constexpr_affine_dequantize", "quantized_data", _moved("u1", _other_code)),
        ("int8", "constexpr_affine_dequantize", "scale", _moved("<f2", _larger)),
        ("w8a8", "constexpr_affine_dequantize", "quantized_data", _moved("u1", _other_code)),
        ("pal4", "constexpr_lut_to_dense", "indices", _moved("u1", _other_code)),
        ("pal6", "constexpr_lut_to_dense", "lut", _moved("<f2", _larger)),
        ("int4", "constexpr_blockwise_shift_scale", "data", _moved("u1", _other_code)),
        ("int4", "constexpr_blockwise_shift_scale", "scale", _moved("<f2", _larger)),
    ],
)
def test_one_changed_integer_scale_or_palette_entry_is_detected(
    precision: str,
    kind: str,
    parameter: str,
    change: Callable[[Path, int], None],
    graphs: dict[str, Graph],
    packages: dict[str, Path],
    tmp_path: Path,
) -> None:
    found: list[tuple[Path, int]] = []
    path = tmp_path / "changed.mlpackage"
    changed(packages[precision], path, lambda program: found.append(place(program, path, kind, parameter)))
    change(*found[0])
    stored = compare_weights(graphs[precision], runtimes.read_operations(path))
    assert [each.partition(",")[0] for each in stored.changed] == ["stages.0.blocks.0.ffn.fc1.conv"]


def test_changed_activation_scale_changes_the_outputs(
    graphs: dict[str, Graph], packages: dict[str, Path], images: Array, tmp_path: Path
) -> None:
    def coarser(program: Program) -> None:
        program.value("dequantize", "scale").immediateValue.tensor.bytes.values = np.float16(3).tobytes()

    path = changed(packages["w8a8"], tmp_path / "changed.mlpackage", coarser)
    assert gap(answers(path, images[:1], "fp32"), graphs["w8a8"], images[:1]) > 10 * ROUNDINGS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inspection_counts_quantised_bytes_and_no_operation_blocks_the_neural_engine(
    precision: str, packages: dict[str, Path]
) -> None:
    found = inspect(packages[precision])
    (function,) = found.functions
    suitability, _ = function.targets
    assert [each for each in suitability.findings if each.severity == Severity.BLOCKS] == []
    file = weights_of(packages[precision]).stat().st_size
    assert 0.7 * file < function.weight_bytes <= file


@pytest.mark.parametrize("precision", ["pal6", "w8a8"])
def test_functions_of_several_sizes_share_quantised_weights(
    precision: str, graphs: dict[str, Graph], packages: dict[str, Path], tmp_path: Path
) -> None:
    several = target(precision, deployment_target="iOS18", functions=((SIDE, SIDE), (96, SIDE)))
    coreml.build(graphs[precision], several, tmp_path / "several.mlpackage")
    sizes = [weights_of(path).stat().st_size for path in (tmp_path / "several.mlpackage", packages[precision])]
    assert sizes[0] < 1.1 * sizes[1]
    for name in several.of_functions():
        operations = runtimes.read_operations(tmp_path / "several.mlpackage", name)
        assert compare_weights(graphs[precision], operations).changed == ()


# --- digits


def made(folder: Path, precision: str, **changes: Any) -> dict[str, Any]:
    request = Request(
        model=ModelName(DIGITS),
        formats=("coreml",),
        precisions=(precision,),
        output_dir=folder,
        verify=False,
        **changes,
    )
    (document,) = export(request)
    return document


@pytest.fixture(scope="module")
def pictures() -> Array:
    return as_an_app_feeds_it(digits.held_out()[0])


@pytest.fixture(scope="module")
def in_float32(pictures: Array) -> float:
    model, _ = resolve(ModelName(DIGITS), None, None, lambda _: None)
    return accuracy(model, pictures, digits.held_out()[1])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_accuracy_on_digits_is_close_to_float32(
    precision: str, pictures: Array, in_float32: float, tmp_path: Path
) -> None:
    document = made(tmp_path, precision, batch=DIGITS_BATCH)
    parts = np.split(pictures.transpose(0, 3, 1, 2).astype(np.float32), len(pictures) // DIGITS_BATCH)
    with mil.open_session(Path(document["path"]), "fp16") as session:
        found = [session.run(part)["probabilities"].argmax(1) for part in parts]
    right = float((np.concatenate(found) == digits.held_out()[1]).mean())
    assert right >= in_float32 - ALLOWED_LOSS / 100
