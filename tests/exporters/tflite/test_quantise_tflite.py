"""TFLite files in int8, int16x8 and dynamic: delegation, conversions, outputs of the simulated graph, accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from networks import random_tiny
from PIL import Image

import exporters.tflite.graph as exporter
import runtimes
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.graph.interpreter import evaluate, fake_quantise
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.ops import infer_shapes
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.images import digits
from evim_deploy.images.preprocessing import PAPER, normalise, resize_and_crop
from evim_deploy.inspection import inspect
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.open import open_reference, parse_source
from evim_deploy.proof.operations.alignment import align
from evim_deploy.proof.operations.arithmetic import apply
from evim_deploy.proof.stored_weights import compare_weights
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import DIGITS, PHOTOGRAPHS, CalibrationImages
from evim_deploy.quantise.quantise_graph import quantise_graph
from evim_deploy.quantise.schemes import SCHEMES
from exporters.tflite import file as tflite_file
from exporters.tflite.lookup_table import table

PRECISIONS = ("int8", "dynamic", "int16x8")
SIDE = 64
ALLOWED_LOSS = 0.5  # percentage points of top-1 accuracy
MOST_PARTITIONS, MOST_CONVERSIONS = 4, 6
LEAST_SNR = 25.0  # dB; int8 has 30 where kernels round ties differently, and less than 20 with a wrong scale

Array = npt.NDArray[Any]
Made = tuple[Graph, Path]


def target(precision: str, side: int = SIDE) -> Target:
    made = Target(
        format="tflite",
        precision=precision,
        height=side,
        width=side,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=(),
    )
    return replace(made, quantisation=Quantisation())


def make(reference: GraphReference, wanted: Target, images: CalibrationImages, folder: Path) -> Made:
    """Build the simulated graph and its file."""
    scheme, graph = SCHEMES["tflite", wanted.precision], reference.inference(wanted)
    qparams = calibrate(graph, scheme, islice(images, 32), pixels=True) if scheme.is_calibrated else {}
    found, path = quantise_graph(graph, scheme, qparams), folder / f"{wanted.precision}.tflite"
    exporter.build(found, wanted, path)
    return found, path


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    found = open_reference(parse_source("digits"), None, None, lambda text: None)
    assert isinstance(found, GraphReference)
    return found


@pytest.fixture(scope="module")
def made(reference: GraphReference, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    images = CalibrationImages(source=DIGITS, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=True)
    folder = tmp_path_factory.mktemp("quantised")
    return {precision: make(reference, target(precision), images, folder) for precision in PRECISIONS}


@pytest.fixture(scope="module")
def pictures() -> tuple[Array, Array]:
    """Held-out digit images of the network's input size, pixels 0-255, (N, 3, H, W) float32, and labels (N,)."""
    found, labels = digits.held_out()
    cropped = [np.asarray(resize_and_crop(Image.fromarray(each), SIDE, SIDE)) for each in found]
    return np.stack(cropped).transpose(0, 3, 1, 2).astype(np.float32), labels


def answers(path: Path, images: Array) -> Array:
    with runtimes.open_artifact(path) as session:
        return np.concatenate([session.run(image[None])["logits"] for image in images])


def simulated(graph: Graph, images: Array) -> Array:
    return evaluate(graph, torch.from_numpy(images))["logits"].numpy()


def snr_db(found: Array, expected: Array) -> float:
    return float(10 * np.log10(np.square(expected).sum() / np.square(found - expected).sum()))


def types(path: Path) -> Counter[str]:
    return Counter(operation.type for operation in runtimes.read_operations(path))


def check_structure(path: Path) -> None:
    delegation = runtimes.read_delegation(path)
    assert delegation is not None
    assert delegation.partitions <= MOST_PARTITIONS
    found = types(path)
    assert found["QUANTIZE"] + found["DEQUANTIZE"] <= MOST_CONVERSIONS


# --- structure of the file


def test_int8_is_one_partition_with_few_conversions(made: dict[str, Made]) -> None:
    _, path = made["int8"]
    check_structure(path)
    delegation = runtimes.read_delegation(path)
    assert delegation is not None
    assert (delegation.partitions, delegation.outside) == (1, ())


def test_dynamic_is_one_partition_without_conversions(made: dict[str, Made]) -> None:
    _, path = made["dynamic"]
    delegation = runtimes.read_delegation(path)
    assert delegation is not None
    assert (delegation.partitions, delegation.outside) == (1, ())
    assert types(path)["QUANTIZE"] == types(path)["DEQUANTIZE"] == 0


def test_inspection_names_and_explains_each_conversion(made: dict[str, Made]) -> None:
    (function,) = inspect(made["int8"][1]).functions
    found = {each.input: each for each in function.conversions}
    assert len(found) == types(made["int8"][1])["QUANTIZE"] + types(made["int8"][1])["DEQUANTIZE"]
    assert all(each.reason for each in found.values())
    assert "RSQRT" in found["stages.2.blocks.0.mixer.hz_proj.biased"].reason
    assert "uint8" in found["rows/image"].reason
    assert sum(each.target == "int8" for each in found.values()) == 1


def test_image_input_is_uint8(made: dict[str, Made]) -> None:
    model = tflite_file.parse(made["int8"][1].read_bytes())
    image = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    assert (image.type, image.quantization.scale, image.quantization.zeroPoint) == (3, [1], [0])  # uint8


# --- outputs


@pytest.mark.parametrize("precision", PRECISIONS)
def test_accuracy_on_digits_is_close_to_fp32(
    precision: str, made: dict[str, Made], reference: GraphReference, pictures: tuple[Array, Array]
) -> None:
    images, labels = pictures
    exact = reference.outputs("classify", normalise(images, PAPER))["logits"]
    expected = 100 * (exact.argmax(1) == labels).mean()
    found = 100 * (answers(made[precision][1], images).argmax(1) == labels).mean()
    assert found >= expected - ALLOWED_LOSS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_match_the_simulated_graph(
    precision: str, made: dict[str, Made], pictures: tuple[Array, Array]
) -> None:
    graph, path = made[precision]
    images = pictures[0][:40]
    assert snr_db(answers(path, images), simulated(graph, images)) > LEAST_SNR


def furthest(graph: Graph, path: Path, images: Array) -> dict[str, float]:
    """Error of each quantised value, in steps, against the graph computed from the file's own inputs, by name."""
    trace = runtimes.trace(path, images)
    shapes = infer_shapes(graph, images.shape)
    rows = align(graph, trace.operations, shapes).matched
    last = {row.operations[-1]: row for row in rows.values()}
    values = fake_quantise({graph.input_name: torch.from_numpy(images.astype(np.float64))}, graph.qparams)
    distance = {}
    for index, arrays in trace.compute(dict.fromkeys(sorted(last), 0)):
        row, local = last[index], dict(values)
        for node in row.nodes:
            exact = dict(zip(node.outputs, apply(node, [local[name] for name in node.inputs]), strict=True))
            local.update(fake_quantise(exact, graph.qparams))
        for name, array in zip(row.node.outputs, arrays, strict=False):
            values[name] = torch.from_numpy(array.astype(np.float64)).reshape(exact[name].shape)
            if name in graph.qparams:
                grid = graph.qparams[name]
                distance[name] = float((values[name] - exact[name].clamp(*grid.range)).abs().max() / grid.scale)
        values.update({name: local[name] for name in row.node.outputs if name not in values})
    return distance


def test_every_quantised_value_is_within_one_step_of_the_graph(
    made: dict[str, Made], pictures: tuple[Array, Array]
) -> None:
    graph, path = made["int8"]
    found = furthest(graph, path, pictures[0][:1])
    assert len(found) > 0.9 * len(graph.qparams)
    assert {name: steps for name, steps in found.items() if steps > 1.1} == {}


Change = Callable[[Any], None]


def changed(path: Path, change: Change, folder: Path) -> Path:
    """Write a changed copy of the file."""
    model = tflite_file.parse(path.read_bytes())
    change(model)
    found = folder / "changed.tflite"
    tflite_file.write(found, model, {})
    return found


def tensor(model: Any, name: str) -> Any:
    return next(each for each in model.subgraphs[0].tensors if each.name.decode() == name)


def another_code(model: Any) -> None:
    buffer = model.buffers[tensor(model, "stages.1.blocks.0.ffn.fc2.conv/kernel").buffer]
    buffer.data = buffer.data.copy()
    buffer.data[7] ^= 0x80  # flips the sign of a weight


def another_scale(model: Any) -> None:
    quantised_ = tensor(model, "stages.1.blocks.0.ffn.fc2.conv/kernel").quantization
    quantised_.scale = quantised_.scale * np.float32(1.05)


def another_zero_point(model: Any) -> None:
    tensor(model, "stages.0.blocks.0.mixer.importance.exp").quantization.zeroPoint = np.array([-125])


@pytest.mark.parametrize("change", [another_code, another_scale, another_zero_point])
def test_changed_constant_gives_values_beyond_one_step(
    change: Change, made: dict[str, Made], pictures: tuple[Array, Array], tmp_path: Path
) -> None:
    graph, path = made["int8"]
    found = furthest(graph, changed(path, change, tmp_path), pictures[0][:1])
    assert any(steps > 1.1 for steps in found.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stored_weights_match_the_graph(precision: str, made: dict[str, Made], tmp_path: Path) -> None:
    graph, path = made[precision]
    found = compare_weights(graph, runtimes.read_operations(path))
    assert found.changed == ()
    assert found.compared > 0.9 * found.arrays
    (fault,) = compare_weights(graph, runtimes.read_operations(changed(path, another_code, tmp_path))).changed
    assert fault.startswith("stages.1.blocks.0.ffn.fc2.conv, 1 of ")


# --- parts of the exporter


def random_codes(seed: int) -> Iterator[npt.NDArray[np.int64]]:
    generator = np.random.RandomState(seed)
    yield generator.randint(0, 256, 256)
    yield np.sort(generator.randint(0, 256, 256))[::-1].copy()
    yield np.repeat([255, 0, 7], [1, 200, 55])
    yield np.full(256, 9)


def test_lookup_table_of_two_convolutions_is_exact() -> None:
    source, target_ = QuantParams(0.1, 40, 0, 255), QuantParams(0.5, 3, 0, 255)
    for codes in random_codes(0):
        found = table(codes, source, target_)
        lines = np.outer(np.arange(256) - source.zero_point, found.slopes.astype(int)) + found.offsets  # (256, K)
        steps = np.clip(lines / 63, 0, 1)
        assert set(np.unique(steps)) <= {0.0, 1.0}
        np.testing.assert_array_equal(steps @ found.heights + found.base + target_.zero_point, codes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("task", "output"), [("classify", "logits"), ("features", "features")])
def test_inference_graph_for_integers_is_exact(seed: int, task: str, output: str) -> None:
    wanted = replace(target("int8"), task=task, output=output)
    reference = GraphReference(model=random_tiny(seed).double(), weights=Weights(f"random:{seed}", False, ""))
    image = torch.from_numpy(np.random.RandomState(seed).uniform(0, 255, (2, 3, SIDE, SIDE)))
    expected = evaluate(reference.rewritten(wanted)[0], image)
    graph = reference.inference(wanted)
    assert not {"softmax_tokens", "silu"} & {node.op for node in graph.nodes if not node.is_floating}
    for name, found in evaluate(graph, image).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-9, atol=1e-9)


def test_first_input_of_state_products_is_symmetric(made: dict[str, Made]) -> None:
    graph, _ = made["int8"]
    factors = [node.inputs[0] for node in graph.nodes if node.op in ("state_update", "state_readout")]
    assert {graph.qparams[value].zero_point for value in factors} == {128}


def test_m4_is_one_partition_with_few_conversions(tmp_path: Path) -> None:
    found = open_reference(parse_source("m4"), "random:0", None, lambda text: None)
    assert isinstance(found, GraphReference)
    images = CalibrationImages(source=PHOTOGRAPHS, height=256, width=256, preprocessing=PAPER, preprocess=True)
    _, path = make(found, target("int8", 256), images, tmp_path)
    check_structure(path)
