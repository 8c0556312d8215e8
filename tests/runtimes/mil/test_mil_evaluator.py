"""Sessions of Core ML packages without Core ML: images, labels, shapes, functions, and the lifetime of values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mil_functions import constant, function, operation, steps
from mil_packages import LABELS, SIDE, Program, changed, classifier, pixels, probabilities

import runtimes
from evim_deploy.common.errors import BadInput, NotRunHere
from evim_deploy.formats.mil import Constant, Function, Operation, ValueType
from runtimes.mil import MilSession
from runtimes.mil.evaluate import ContradictoryProgram, Evaluator, UnknownOperation, unknown_operations

LUMA = np.array([0.299, 0.587, 0.114])


class Net(torch.nn.Module):
    """A network for images of any size, with shapes computed from the size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, 2, 1)
        self.linear = torch.nn.Linear(4, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(image / 255))
        tokens = x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3]).softmax(-1)
        return self.linear((tokens.reshape(x.shape) * x).mean((2, 3)))


def convert(
    path: Path, image: Any, sides: tuple[int, int] = (SIDE, SIDE), target: str = "iOS16", **options: Any
) -> Path:
    import coremltools as ct

    traced = torch.jit.trace(Net().eval(), torch.rand(1, 3, *sides))
    model = ct.convert(
        traced,
        inputs=[image],
        outputs=[ct.TensorType(name="logits")],
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
        **options,
    )
    model.save(str(path))
    return path


def gap(session: MilSession, image: Any) -> float:
    with torch.no_grad():
        expected = Net().eval()(torch.from_numpy(image)).numpy()
    found = session.run(image)
    assert list(found) == ["logits"]
    assert found["logits"].dtype == np.float32
    return float(np.abs(found["logits"] - expected).max())


# --- images and labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colors", "fed"),
    [
        ("RGB", lambda image: image),
        ("BGR", lambda image: image[::-1]),
        ("GRAYSCALE", lambda image: np.tensordot(LUMA, image, 1)[None]),
    ],
)
def test_pixels_are_converted_to_the_colours_of_the_package(
    tmp_path: Path, colors: str, fed: Callable[[Any], Any]
) -> None:
    channels = 1 if colors == "GRAYSCALE" else 3
    classifier(tmp_path / "p.mlpackage", shape=(1, channels, SIDE, SIDE), colors=colors)
    image = pixels(0)
    found = MilSession(tmp_path / "p.mlpackage", "fp32").run(image)
    assert list(found) == ["probabilities"]
    assert found["probabilities"].shape == (1, len(LABELS))
    assert np.abs(found["probabilities"][0] - probabilities(fed(image[0].astype(np.float64)))).max() < 1e-6
    with pytest.raises(BadInput, match="accepts images of"):
        MilSession(tmp_path / "p.mlpackage", "fp32").run(image[0])
    if colors == "RGB":
        assert np.abs(found["probabilities"][0] - probabilities(image[0, ::-1].astype(np.float64))).max() > 1e-3


def test_the_table_of_engines_opens_a_package(tmp_path: Path) -> None:
    classifier(tmp_path / "p.mlpackage")
    engine = runtimes.ENGINES["mil"]
    for mode in engine.modes:
        with runtimes.open_artifact(tmp_path / "p.mlpackage", engine, mode) as session:
            assert session.run(pixels(0))["probabilities"].sum() == pytest.approx(1)
            assert session.metadata["com.github.apple.coremltools.source"] == "milinternal"
            assert dict(session.anomalies) == {}


def test_anomalies_are_those_of_the_last_run(tmp_path: Path) -> None:
    classifier(tmp_path / "p.mlpackage", half=True)

    def weigh(program: Program) -> None:
        """Replace the scale 1/255 by 2^15, so that a bright image overflows."""
        program.value("mul", "y").immediateValue.tensor.bytes.values = np.float16(32768).tobytes()

    session = MilSession(changed(tmp_path / "p.mlpackage", tmp_path / "q.mlpackage", weigh), "fp16")
    session.run(np.full((1, 3, SIDE, SIDE), 255, dtype=np.float32))
    (first, *_) = session.anomalies.items()
    assert first == ("mul_0_cast_fp16 (mul)", {"overflow": 3 * SIDE * SIDE})
    session.run(np.zeros((1, 3, SIDE, SIDE), dtype=np.float32))
    assert session.anomalies == {}


# --- shapes ------------------------------------------------------------------------------------------------


def choices(kind: str) -> Any:
    import coremltools as ct

    wide = ct.RangeDim(8, 32, default=SIDE)
    return {
        "sizes": ct.ImageType("image", ct.EnumeratedShapes([(1, 3, SIDE, SIDE), (1, 3, 12, 16)])),
        "range of sizes": ct.ImageType("image", (1, 3, wide, wide)),
        "shapes": ct.TensorType("image", ct.EnumeratedShapes([(1, 3, SIDE, SIDE), (2, 3, 12, 16)])),
        "range of shapes": ct.TensorType("image", (ct.RangeDim(1, 4, default=1), 3, wide, SIDE)),
        "fixed": ct.TensorType("image", (1, 3, SIDE, SIDE)),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "taken", "refused", "allowed"),
    [
        ("sizes", [(1, 3, 8, 8), (1, 3, 12, 16)], [(1, 3, 8, 16), (2, 3, 8, 8)], "1x3x8x8 or 1x3x12x16"),
        ("range of sizes", [(1, 3, 8, 32), (1, 3, 19, 8)], [(1, 3, 7, 8), (1, 3, 33, 8)], "1x3x(8..32)x(8..32)"),
        ("shapes", [(1, 3, 8, 8), (2, 3, 12, 16)], [(2, 3, 8, 8)], "1x3x8x8 or 2x3x12x16"),
        ("range of shapes", [(1, 3, 8, 8), (4, 3, 32, 8)], [(5, 3, 8, 8), (1, 3, 8, 9)], "(1..4)x3x(8..32)x8"),
        ("fixed", [(1, 3, 8, 8)], [(1, 3, 8, 9), (1, 3, 8)], "1x3x8x8"),
    ],
)
def test_a_package_accepts_the_shapes_that_it_lists(
    tmp_path: Path, kind: str, taken: list[tuple[int, ...]], refused: list[tuple[int, ...]], allowed: str
) -> None:
    session = MilSession(convert(tmp_path / "p.mlpackage", choices(kind)), "fp32")
    for shape in taken:
        assert gap(session, np.random.RandomState(0).rand(*shape).astype(np.float32) * 255) < 1e-6
    for shape in refused:
        with pytest.raises(BadInput) as caught:
            session.run(np.zeros(shape, dtype=np.float32))
        assert f"accepts images of {allowed}, not {'x'.join(map(str, shape))}." in caught.value.cause


# --- functions and inputs ----------------------------------------------------------------------------------


def test_each_function_of_a_package_runs(tmp_path: Path) -> None:
    import coremltools as ct

    functions = ct.utils.MultiFunctionDescriptor()
    for name, side in (("small", SIDE), ("large", 2 * SIDE)):
        image = ct.TensorType("image", (1, 3, side, side))
        convert(tmp_path / f"{name}.mlpackage", image, (side, side), "iOS18")
        functions.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    functions.default_function_name = "small"
    path = tmp_path / "both.mlpackage"
    ct.utils.save_multifunction(functions, str(path))
    for function_name, side in ((None, SIDE), ("small", SIDE), ("large", 2 * SIDE)):
        session = MilSession(path, "fp32", function_name)
        assert gap(session, pixels(0, side, side)) < 1e-6
        with pytest.raises(BadInput, match=f"accepts images of 1x3x{side}x{side}"):
            session.run(pixels(0, 3, 3))
    with pytest.raises(BadInput, match=r"(?s)no function 'huge'.*large, small"):
        MilSession(path, "fp32", "huge")


def test_several_inputs_are_not_run(tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    specs = [mb.TensorSpec(shape=(1, 3, SIDE, SIDE)) for _ in range(2)]
    target = ct.target.iOS16
    program = mb.program(input_specs=specs, opset_version=target)(lambda image, mask: mb.mul(x=image, y=mask))
    model = ct.convert(program, minimum_deployment_target=target, skip_model_load=True)
    model.save(str(tmp_path / "p.mlpackage"))
    with pytest.raises(NotRunHere, match=r"has 2 inputs \(image, mask\)"):
        MilSession(tmp_path / "p.mlpackage", "fp32")


def test_an_input_other_than_an_image_is_not_run(tmp_path: Path) -> None:
    classifier(tmp_path / "p.mlpackage")

    def change(program: Program) -> None:
        program.spec.description.input[0].type.stringType.SetInParent()

    with pytest.raises(NotRunHere, match="has an input of type stringType"):
        MilSession(changed(tmp_path / "p.mlpackage", tmp_path / "q.mlpackage", change), "fp32")


# --- the evaluator itself ----------------------------------------------------------------------------------


def chain() -> Function:
    """y = x + 1, z = y * y, out = z - x."""
    return function(
        {"x": ("float32", (2,))},
        operation("add", "y", "float32", (2,), x="x", y=constant(1.0, "float32")),
        operation("mul", "z", "float32", (2,), x="y", y="y"),
        operation("sub", "out", "float32", (2,), x="z", y="x"),
    )


def test_operations_come_in_their_order() -> None:
    found = steps(chain(), "fp32", x=[1.0, 2.0])
    assert [(step.operation.name, step.values[0].tolist()) for step in found] == [
        ("y", [2, 3]),
        ("z", [4, 9]),
        ("out", [3, 7]),
    ]


def test_one_evaluator_runs_many_times() -> None:
    evaluator = Evaluator(chain())
    for value in (1.0, 3.0, 1.0):
        *_, last = evaluator.steps({"x": torch.tensor([value, 0.0])}, "fp32")
        assert last.values[0].tolist() == [(value + 1) ** 2 - value, 1]


def test_compressed_constants_are_decompressed_once() -> None:
    """They are no step, and have their declared type in every mode."""
    kind = ValueType("float16", (2,))
    inputs = {
        "quantized_data": (Constant(ValueType("int8", (2,)), np.array([3, -7], dtype=np.int8), 0),),
        "zero_point": (Constant(ValueType("int8", ()), 1, 0),),
        "scale": (constant(0.1),),
        "axis": (constant(0),),
    }
    made = Operation("constexpr_affine_dequantize", inputs, (("w", kind),), False)
    body = operation("mul", "y", "float16", (2,), x="x", y="w")
    program = Function({"x": kind}, {}, (made, body), ("y",))
    evaluator = Evaluator(program)
    scale = np.float64(np.float16(0.1))
    expected = np.array([scale * 2, scale * -8]).astype(np.float16)
    assert evaluator.constants["w"].tolist() == expected.tolist()
    for mode in ("fp32", "fp16", "ane"):
        (step,) = evaluator.steps({"x": torch.ones(2)}, mode)
        assert step.operation is body
        assert step.values[0].tolist() == expected.tolist()


def test_an_unknown_operation_is_counted() -> None:
    body = [
        operation(kind, name, "float32", (2,), x="x") for kind, name in (("warp", "a"), ("relu", "b"), ("warp", "c"))
    ]
    program = function({"x": ("float32", (2,))}, *body)
    assert unknown_operations(program) == {"warp": 2}
    with pytest.raises(UnknownOperation, match=r"warp \(2 times\)"):
        Evaluator(program)


@pytest.mark.parametrize("shape", [(3,), (2, 1), ()])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ContradictoryProgram, match=r"x is declared \[2\]"):
        steps(chain(), "fp32", x=np.zeros(shape))


def test_open_axes_accept_any_length() -> None:
    program = function({"x": ("float32", (None, 2))}, operation("relu", "y", "float32", (None, 2), x="x"))
    for count in (1, 5):
        assert steps(program, "fp32", x=np.ones((count, 2)))[0].values[0].shape == (count, 2)
    with pytest.raises(ContradictoryProgram, match="is declared"):
        steps(program, "fp32", x=np.ones((1, 3)))
