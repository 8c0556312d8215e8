"""The end of an ONNX classifier: every form of an activation is recognised, and none is applied twice.

The right probabilities are always those of the file in ONNX Runtime, run here, and not by the product.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request
from evim_deploy.common.errors import BadInput, ParityFailed
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.networks.onnx.ending import PROBABILITIES
from evim_deploy.networks.onnx.open import find_onnx, open_onnx
from evim_deploy.networks.open import parse_source
from evim_deploy.networks.torch_module import export_wrapper as servable
from evim_deploy.networks.torch_module.loaded import LoadedModel

SIDE, CLASSES, BATCH = 32, 5, 3
IDENTITY = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), crop_fraction=1.0, interpolation="bilinear")

Array = npt.NDArray[Any]


class Tail:
    """Nodes after the logits (B, classes) or, of a map, (B, classes, 1, 1); ``value`` is the last one's output."""

    def __init__(self, opset: int = 17, classes: int = CLASSES) -> None:
        self.opset, self.classes = opset, classes
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.value = "map"

    def then(self, op: str, *others: str | Array, first: str | None = None, **attributes: Any) -> str:
        names = [other if isinstance(other, str) else self._constant(other) for other in others]
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [first or self.value, *names], [output], **attributes))
        self.value = output
        return output

    def _constant(self, array: Array) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def model(self) -> Any:
        random = np.random.default_rng(0)
        kernel = random.standard_normal((self.classes, 3, SIDE, SIDE)).astype(np.float32) * 0.05
        conv = helper.make_node("Conv", ["image", "kernel"], ["map"])  # (B, classes, 1, 1), of either sign
        graph = helper.make_graph(
            [conv, *self.nodes],
            "classifier",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, SIDE, SIDE])],
            [helper.make_empty_tensor_value_info(self.value)],
            [numpy_helper.from_array(kernel, "kernel"), *self.constants],
        )
        graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def flat(tail: Tail) -> Tail:
    tail.then("Flatten")
    return tail


def plain_softmax(tail: Tail) -> None:
    flat(tail).then("Softmax", axis=-1)


def softmax_old(tail: Tail) -> None:
    tail.opset = 11
    flat(tail).then("Softmax")


def softmax_identity(tail: Tail) -> None:
    plain_softmax(tail)
    tail.then("Identity")


def softmax_casts(tail: Tail) -> None:
    plain_softmax(tail)
    tail.then("Cast", to=TensorProto.FLOAT)
    tail.then("Identity")


def softmax_of_a_map(tail: Tail) -> None:
    tail.then("Softmax", axis=1)


def softmax_of_a_map_flattened(tail: Tail) -> None:
    softmax_of_a_map(tail)
    flat(tail)


def softmax_reshaped(tail: Tail) -> None:
    softmax_of_a_map(tail)
    tail.then("Reshape", ints(-1, CLASSES))


def softmax_squeezed(tail: Tail) -> None:
    softmax_of_a_map(tail)
    tail.then("Squeeze", ints(2, 3))


def softmax_written(tail: Tail) -> None:
    logits = flat(tail).value
    largest = tail.then("ReduceMax", axes=[1], keepdims=1)
    exponentials = tail.then("Exp", first=tail.then("Sub", largest, first=logits))
    total = tail.then("ReduceSum", ints(1), keepdims=1)
    tail.then("Div", total, first=exponentials)


def softmax_without_maximum(tail: Tail) -> None:
    flat(tail)
    exponentials = tail.then("Exp")
    total = tail.then("ReduceSum", ints(1), keepdims=1)
    tail.then("Div", total, first=exponentials)


def softmax_by_reciprocal(tail: Tail) -> None:
    flat(tail)
    exponentials = tail.then("Exp")
    tail.then("ReduceSum", ints(1), keepdims=1)
    tail.then("Mul", exponentials, first=tail.then("Reciprocal"))


def exponential_of_log_softmax(tail: Tail) -> None:
    flat(tail).then("LogSoftmax", axis=1)
    tail.then("Exp")


def exponential_of_log_sum(tail: Tail) -> None:
    logits = flat(tail).value
    total = tail.then("ReduceLogSumExp", axes=[1], keepdims=1)
    tail.then("Exp", first=tail.then("Sub", total, first=logits))


def plain_sigmoid(tail: Tail) -> None:
    flat(tail).then("Sigmoid")


def sigmoid_identity(tail: Tail) -> None:
    tail.then("Sigmoid")
    flat(tail)
    tail.then("Identity")


def sigmoid_written(tail: Tail) -> None:
    flat(tail).then("Neg")
    tail.then("Exp")
    tail.then("Add", np.float32(1).reshape(1))
    tail.then("Reciprocal")


def two_classes_of_a_sigmoid(tail: Tail) -> None:
    tail.classes = 1
    likely = flat(tail).then("Sigmoid")
    tail.then("Neg")
    tail.then("Add", np.float32(1).reshape(1))
    tail.then("Concat", likely, axis=1)


def smoothed_softmax(tail: Tail) -> None:
    plain_softmax(tail)
    tail.then("Mul", np.float32(0.9).reshape(1))
    tail.then("Add", np.float32(0.1 / CLASSES).reshape(1))


def plain_logits(tail: Tail) -> None:
    flat(tail)


def logits_of_a_map(tail: Tail) -> None:
    tail.then("Identity")


def rectified_logits(tail: Tail) -> None:
    flat(tail).then("Mul", np.float32(8).reshape(1))
    tail.then("Relu")


def log_probabilities(tail: Tail) -> None:
    flat(tail).then("LogSoftmax", axis=1)


Make = Callable[[Tail], None]

FOUND: list[tuple[Make, str]] = [
    *((make, "softmax") for make in (plain_softmax, softmax_old, softmax_identity, softmax_casts, softmax_of_a_map)),
    *((make, "softmax") for make in (softmax_of_a_map_flattened, softmax_reshaped, softmax_squeezed, softmax_written)),
    *((make, "softmax") for make in (softmax_without_maximum, softmax_by_reciprocal, exponential_of_log_softmax)),
    (exponential_of_log_sum, "softmax"),
    *((make, "sigmoid") for make in (plain_sigmoid, sigmoid_identity, sigmoid_written)),
]
KEPT: list[Make] = [two_classes_of_a_sigmoid, smoothed_softmax]
LOGITS: list[Make] = [plain_logits, logits_of_a_map, rectified_logits, log_probabilities]


def written(make: Make, folder: Path, classes: int = CLASSES) -> Path:
    tail = Tail(classes=classes)
    make(tail)
    path = folder / f"{make.__name__}.onnx"
    onnx.save(tail.model(), path)
    return path


def opened(path: Path, told: list[str] | None = None) -> LoadedModel:
    return open_onnx(find_onnx(str(path)), (told if told is not None else []).append)


def images() -> Array:
    return np.random.default_rng(1).standard_normal((BATCH, 3, SIDE, SIDE)).astype(np.float32)


def given(path: Path, taken: Array) -> Array:
    """The file's own output, (B, classes)."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers: Array = np.concatenate([session.run(None, {"image": one[None]})[0] for one in taken])
    return answers.reshape(len(taken), -1)


def module_logits(found: LoadedModel) -> Array:
    with torch.no_grad():
        answers: Array = found.module(torch.from_numpy(images())).numpy()
    return answers


def softmax(logits: Array) -> Array:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


BY_NAME: dict[str, Callable[[Array], Array]] = {"softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


@pytest.mark.parametrize(("make", "activation"), FOUND, ids=lambda each: getattr(each, "__name__", each))
def test_an_activation_is_found(make: Make, activation: str, tmp_path: Path) -> None:
    path = written(make, tmp_path)
    found, expected = opened(path), given(path, images())
    assert (found.activation, found.output, found.num_classes) == (activation, "logits", CLASSES)
    assert np.abs(BY_NAME[activation](module_logits(found)) - expected).max() < 2e-6
    assert np.abs(found.original(images())["probabilities"] - expected).max() == 0
    assert np.abs(found.original(images())["logits"] - module_logits(found)).max() < 2e-5  # logits up to 10


@pytest.mark.parametrize("make", KEPT, ids=lambda each: each.__name__)
def test_probabilities_without_known_logits_are_kept(make: Make, tmp_path: Path) -> None:
    path, told = written(make, tmp_path), list[str]()
    found, expected = opened(path, told), given(path, images())
    assert found.output == PROBABILITIES
    assert np.abs(module_logits(found) - expected).max() < 2e-6
    assert "logits were not found" in told[0]


@pytest.mark.parametrize("make", LOGITS, ids=lambda each: each.__name__)
def test_logits_are_logits(make: Make, tmp_path: Path) -> None:
    path = written(make, tmp_path)
    found, expected = opened(path), given(path, images())
    assert (found.activation, found.output) == ("softmax", "logits")
    assert np.abs(module_logits(found) - expected).max() < 3e-6 * np.abs(expected).max()
    assert np.abs(found.original(images())["probabilities"] - softmax(expected)).max() < 1e-6


def percent(tail: Tail) -> None:
    plain_softmax(tail)
    tail.then("Mul", np.float32(100).reshape(1))


def bounded(tail: Tail) -> None:
    flat(tail).then("HardSigmoid")


@pytest.mark.parametrize("make", [percent, bounded], ids=lambda each: each.__name__)
def test_numbers_of_unknown_meaning_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither logits nor probabilities"):
        opened(written(make, tmp_path))


@pytest.mark.parametrize("make", [plain_logits, plain_sigmoid, logits_of_a_map], ids=lambda each: each.__name__)
def test_one_number_for_each_image_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="num_classes must be at least 2, got 1"):
        opened(written(make, tmp_path, classes=1))


def made(path: Path, folder: Path, output: str | None = None, format_: str = "onnx") -> dict[str, Any]:
    (artifact,) = export(
        Request(
            model=parse_source(str(path)),
            formats=(format_,),
            precisions=("fp32",),
            output=output,
            output_dir=folder,
            overwrite=True,
        )
    )
    return artifact


@pytest.mark.parametrize("make", [softmax_casts, plain_sigmoid, smoothed_softmax], ids=lambda each: each.__name__)
def test_an_artifact_gives_the_probabilities_of_its_file(make: Make, tmp_path: Path) -> None:
    path = written(make, tmp_path)
    artifact = made(path, tmp_path / "out", "probabilities")
    assert artifact["parity"]["status"] in ("pass", "warning")
    session = onnxruntime.InferenceSession(artifact["path"], providers=["CPUExecutionProvider"])
    answers = np.concatenate([session.run(None, {"image": one[None]})[0] for one in images()])
    assert np.abs(answers - given(path, images())).max() < 2e-6


def test_logits_that_were_not_found_cannot_be_asked_for(tmp_path: Path) -> None:
    path = written(smoothed_softmax, tmp_path)
    assert made(path, tmp_path)["output"] == "probabilities"
    with pytest.raises(BadInput, match="its logits were not found"):
        made(path, tmp_path, "logits")


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_a_multi_label_classifier_predicts_each_class_by_itself(output: str, tmp_path: Path) -> None:
    path = written(plain_sigmoid, tmp_path)
    source = parse_source(str(path), IDENTITY)
    (artifact,) = export(
        Request(model=source, formats=("onnx",), precisions=("fp32",), output=output, output_dir=tmp_path / output)
    )
    picture = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    report = predict(Path(artifact["path"]), [tmp_path / "picture.png"], CLASSES)
    taken = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
    expected = np.sort(given(path, taken)[0])[::-1]
    assert artifact["activation"] == "sigmoid"
    assert np.abs([guess.probability for guess in report.predictions[0].top] - expected).max() < 1e-5
    assert abs(expected.sum() - 1) > 0.1  # a softmax of them would sum to one


def test_a_second_activation_fails_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: a wrong step in the artifact alone."""
    path = written(softmax_casts, tmp_path)
    once = servable._ACTIVATIONS["softmax"]
    monkeypatch.setitem(servable._ACTIVATIONS, "softmax", lambda x: once(once(x)))
    with pytest.raises(ParityFailed):
        made(path, tmp_path / "out", "probabilities")


def test_a_missing_activation_fails_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(plain_sigmoid, tmp_path)
    monkeypatch.setitem(servable._ACTIVATIONS, "sigmoid", lambda x: x)
    with pytest.raises(ParityFailed):
        made(path, tmp_path / "out", "probabilities")
