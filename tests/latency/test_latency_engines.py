"""The timed engines have the model's output, and their profiles add up to the time."""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from latency.breakdown import OperationClass, classify_onnxruntime, classify_openvino, classify_torch
from latency.engines import DISTINCT_IMAGES, ENGINES, Job, Runner, load
from latency.enums import MemoryLayout, SubjectKind
from latency.preparation import prepare
from latency.subjects import PreparedSubject, artifact_subject, mixer_subjects, model_subject
from latency.tolerances import max_error

SIDE = 64
BATCH = 2
PROFILED = 10
"""Predictions in a profile, enough to dominate its time."""

# largest difference as a share of the largest logit; bf16 has 8 bits, and M1 here is some 60 layers of it deep
TOLERANCE = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 0.06, "dynamic": 0.2, "int8": 0.7}
QUANTISED = ("int8", "dynamic")

SLOW = ("litert",)  # its converter comes with TensorFlow

CASES = [
    pytest.param(name, precision, id=f"{name}-{precision}", marks=[pytest.mark.slow] * (name in SLOW))
    for name in ("torch", "torchscript", "onnxruntime", "openvino", "litert")
    for precision in ENGINES[name].precisions["cpu"]
    if name not in SLOW or precision in ("fp32", "int8")
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PreparedSubject]:
    """A function that prepares M1 at 64x64 once for each suffix and precision; digits, which is small, if quantised."""
    made: dict[tuple[str, str], PreparedSubject] = {}

    def make(suffix: str, stored: str = "fp32") -> PreparedSubject:
        if (suffix, stored) not in made:
            folder = tmp_path_factory.mktemp("prepared")
            subject = model_subject(parse_model("digits" if stored in QUANTISED else "m1"))
            made[suffix, stored] = prepare(
                subject, suffix, folder=folder, file_precision=stored, batch=BATCH, height=SIDE, width=SIDE
            )
        return made[suffix, stored]

    return make


def job(found: PreparedSubject, precision: str = "fp32", layout: str = MemoryLayout.CHANNELS_FIRST) -> Job:
    return Job(
        source=found.source,
        precision=precision,
        batch=BATCH,
        shape=found.shape,
        threads=1,
        device="cpu",
        layout=layout,
    )


def noise_job(batch: int, side: int, pixels: bool = False) -> Job:
    return Job(
        source="",
        precision="fp32",
        batch=batch,
        shape=(3, side, side),
        threads=None,
        device="cpu",
        layout=MemoryLayout.CHANNELS_FIRST,
        pixels=pixels,
    )


def opened(engine: str, order: Job) -> Runner:
    row = ENGINES[engine]
    if any(importlib.util.find_spec(package.replace("-", "_")) is None for package in row.requires):
        pytest.skip(f"{engine} is not installed")
    return load(row.module).open_runner(order)


def error(runner: Runner, found: PreparedSubject) -> float:
    """The error of the first image's output, relative to the largest logit."""
    runner.predict()
    assert found.expected is not None
    expected = np.load(found.expected)
    answer = runner.outputs()
    assert answer.shape == (BATCH, expected.shape[1])
    assert answer.dtype == np.float32
    return float(np.abs(answer[:1] - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(("engine", "precision"), CASES)
def test_an_engine_has_the_models_output_and_its_profile_adds_up(
    engine: str, precision: str, prepared: Callable[..., PreparedSubject]
) -> None:
    found = prepared(ENGINES[engine].file_suffix, ENGINES[engine].file_precision(precision))
    runner = opened(engine, job(found, precision))
    assert error(runner, found) < TOLERANCE[precision]
    began = time.perf_counter()
    operations = runner.profile(PROFILED)
    profiling = time.perf_counter() - began
    if engine == "litert":
        assert operations == []
        return
    assert {each.operation_class for each in operations} <= set(OperationClass)
    seconds: Counter[str] = Counter()
    for each in operations:
        seconds[each.operation_class] += each.seconds
    # between bounds that hold on a busy machine, too: nothing is missing, and nothing is counted twice
    assert 0.5 * _fastest(runner) < seconds.total() < profiling / PROFILED
    # of so small a network going over to integers and back is half of the time
    assert seconds[OperationClass.OTHER] < (0.7 if precision in QUANTISED else 0.5) * seconds.total()
    assert min(seconds["convolution 1x1"], seconds["convolution depthwise"], seconds["matrix product"]) > 0


def _fastest(runner: Runner) -> float:
    samples = []
    for _ in range(10):
        start = time.perf_counter()
        runner.predict()
        samples.append(time.perf_counter() - start)
    return min(samples)


@pytest.mark.parametrize("engine", [name for name, row in ENGINES.items() if row.precisions.get("cpu")])
def test_an_engine_tells_its_version(engine: str) -> None:
    row = ENGINES[engine]
    if any(importlib.util.find_spec(package.replace("-", "_")) is None for package in row.requires):
        pytest.skip(f"{engine} is not installed")
    assert load(row.module).version()[0].isdigit()


def test_channels_last_has_the_same_output(prepared: Callable[..., PreparedSubject]) -> None:
    found = prepared(".pt")
    assert error(opened("torch", job(found, layout=MemoryLayout.CHANNELS_LAST)), found) < TOLERANCE["fp32"]


# --- negative controls


def _perturbed_onnx(source: str, path: Path) -> None:
    model = onnx.load(source)
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[-1] == 3)
    tensor.CopyFrom(numpy_helper.from_array(1.05 * numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, path)


def _perturbed_torch(source: str, path: Path) -> None:
    module = torch.load(source, weights_only=False)
    module.get_buffer("kernel_0").mul_(1.05)
    torch.save(module, path)


@pytest.mark.parametrize(
    ("engine", "perturb"),
    [
        ("torch", _perturbed_torch),
        ("torchscript", _perturbed_torch),
        ("onnxruntime", _perturbed_onnx),
        ("openvino", _perturbed_onnx),
    ],
)
def test_a_kernel_that_is_off_by_a_twentieth_is_seen(
    engine: str, perturb: Callable[[str, Path], None], prepared: Callable[..., PreparedSubject], tmp_path: Path
) -> None:
    found = prepared(ENGINES[engine].file_suffix)
    path = tmp_path / f"perturbed{ENGINES[engine].file_suffix}"
    perturb(found.source, path)
    assert error(opened(engine, job(replace(found, source=str(path)))), found) > 100 * TOLERANCE["fp32"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_broken_file_of_integers_is_seen(
    engine: str, prepared: Callable[..., PreparedSubject], tmp_path: Path
) -> None:
    """The quantised values of one kernel in the middle are reversed; the intact file is within int8's tolerance."""
    found = prepared(".onnx", "int8")
    model = onnx.load(found.source)
    kernels = [
        each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4
    ]
    tensor = kernels[len(kernels) // 2]
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[::-1]), tensor.name))
    path = tmp_path / "broken.onnx"
    onnx.save(model, path)
    assert error(opened(engine, job(found, "int8")), found) < max_error(SubjectKind.MODEL, "int8", "int8")
    assert error(opened(engine, job(replace(found, source=str(path)), "int8")), found) > max_error(
        SubjectKind.MODEL, "int8", "int8"
    )


def test_openvino_says_what_it_computes_the_rest_of_a_quantised_file_in(
    prepared: Callable[..., PreparedSubject],
) -> None:
    assert opened("openvino", job(prepared(".onnx", "int8"), "int8")).mode.startswith("floats in ")
    assert opened("openvino", job(prepared(".onnx"))).mode == ""


def test_bf16_is_computed_in_bf16(prepared: Callable[..., PreparedSubject]) -> None:
    """An fp32 result would mean that another precision was timed."""
    for engine in ("torch", "torchscript", "openvino"):
        found = prepared(ENGINES[engine].file_suffix)
        assert error(opened(engine, job(found, "bf16")), found) > 1e-4


# --- other subjects


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_mixers_run_in_the_engines(engine: str, tmp_path: Path) -> None:
    for index, subject in enumerate(mixer_subjects()):
        folder = tmp_path / str(index)
        folder.mkdir()
        found = prepare(
            subject,
            ENGINES[engine].file_suffix,
            folder=folder,
            file_precision="fp32",
            batch=BATCH,
            height=SIDE,
            width=SIDE,
        )
        runner = opened(engine, job(found))
        runner.predict()
        assert runner.outputs().shape == (BATCH, 128, 4, 4)
        assert found.expected is not None
        np.testing.assert_allclose(runner.outputs()[:1], np.load(found.expected), atol=1e-5)


@pytest.mark.slow
def test_the_compiled_module_has_the_models_output_and_its_kernels_are_classified(tmp_path: Path) -> None:
    """The mixer alone, since compiling a whole network takes minutes."""
    found = prepare(
        mixer_subjects()[0], ".pt", folder=tmp_path, file_precision="fp32", batch=BATCH, height=SIDE, width=SIDE
    )
    runner = opened("torch-compile", job(found))
    runner.predict()
    assert found.expected is not None
    np.testing.assert_allclose(runner.outputs()[:1], np.load(found.expected), atol=1e-5)
    operations = runner.profile(PROFILED)
    assert {each.operation_class for each in operations} <= set(OperationClass)
    assert any(each.operation_class == "convolution 1x1" for each in operations)
    assert sum(each.seconds for each in operations) > 0.5 * _fastest(runner)


def test_an_artifact_has_its_models_output_for_pixels(tmp_path: Path) -> None:
    request = Request(
        model=parse_model("m1"),
        formats=("onnx",),
        sizes=((SIDE, 96),),
        weights="random:3",
        output_dir=tmp_path,
        verify=False,
    )
    (made,) = export(request)
    found = prepare(
        artifact_subject(Path(made["path"])),
        ".onnx",
        folder=tmp_path,
        file_precision="fp32",
        batch=1,
        height=0,
        width=0,
    )
    assert found.pixels
    assert found.expected is not None
    expected = np.load(found.expected)
    for pixels, is_equal in ((True, True), (False, False)):
        runner = opened("onnxruntime", replace(job(found), batch=1, pixels=pixels))
        runner.predict()
        gap = np.abs(runner.outputs() - expected).max() / np.abs(expected).max()
        assert bool(gap < TOLERANCE["fp32"]) is is_equal


# --- images


def test_the_first_image_is_the_same_in_every_batch() -> None:
    one, three = (noise_job(batch, 8).images() for batch in (1, 3))
    assert np.array_equal(one[0], three[0])
    assert not np.array_equal(three[0], three[1])
    assert one.dtype == np.float32


@pytest.mark.parametrize("layout", [MemoryLayout.CHANNELS_FIRST, MemoryLayout.CHANNELS_LAST])
def test_a_large_batch_repeats_its_first_images(layout: str, prepared: Callable[..., PreparedSubject]) -> None:
    """The same in all engines: in numpy arrays, and on the device in PyTorch."""
    from latency.engines.torch import TorchRunner

    order = replace(job(prepared(".pt"), layout=layout), batch=2 * DISTINCT_IMAGES + 3)
    images = order.images()
    assert images.shape == (order.batch, *order.shape)
    assert len(order.distinct_images()) == DISTINCT_IMAGES
    for index, image in enumerate(images):
        assert np.array_equal(image, images[index % DISTINCT_IMAGES])
    assert not np.array_equal(images[0], images[DISTINCT_IMAGES - 1])
    placed = TorchRunner(order)._images
    assert np.array_equal(placed.numpy(), images)
    assert placed.is_contiguous(memory_format=torch.channels_last) is (layout == MemoryLayout.CHANNELS_LAST)


def test_pixels_are_whole_numbers_of_a_byte() -> None:
    images = noise_job(2, 32, pixels=True).images()
    assert images.dtype == np.float32
    assert np.array_equal(images, images.astype(np.uint8))
    assert images.min() < 10 < 240 < images.max()


# --- classes


@pytest.mark.parametrize(
    ("name", "shapes", "class_"),
    [
        ("aten::mkldnn_convolution", [[1, 8, 4, 4], [16, 8, 1, 1]], "convolution 1x1"),
        ("aten::mkldnn_convolution", [[1, 8, 4, 4], [8, 1, 3, 3]], "convolution depthwise"),
        ("aten::cudnn_convolution", [[1, 8, 4, 4], [8, 8, 3, 3]], "convolution other"),
        ("aten::_convolution", [], "convolution other"),
        ("aten::bmm", [[1, 2, 3], [1, 3, 4]], "matrix product"),
        ("aten::copy_", [], "copies, reshapes and layout"),
        ("aten::relu", [[1]], "pointwise"),
        ("aten::unheard_of", [[1]], "other"),
        ("cpp_fused_add_mul_relu_3", [], "pointwise"),
        ("graph_0_cpp_fused__softmax_add_12", [], "softmax and reduction"),
        ("triton_red_fused_mean_mul_rsqrt_sub_2", [], "normalisation"),
        ("triton_poi_fused_convolution_expand_1", [], "copies, reshapes and layout"),
        ("triton_poi_fused_unheard_0", [], "other"),
    ],
)
def test_classes_in_pytorch(name: str, shapes: list[list[int]], class_: str) -> None:
    assert classify_torch(name, shapes) == class_


def test_classes_in_the_other_engines() -> None:
    assert classify_onnxruntime("Conv", [[1, 8, 4, 4], [8, 1, 3, 3]]) == "convolution depthwise"
    assert classify_onnxruntime("QLinearConv", [[1, 4, 4, 8], [], [], [8]], [8, 1, 3, 3]) == "convolution depthwise"
    assert classify_onnxruntime("QLinearConv", [[1, 4, 4, 8], [], [], [8]]) == "convolution other"
    assert classify_onnxruntime("ConvInteger", [[1, 8, 4, 4], [9, 8, 1, 1], []]) == "convolution 1x1"
    assert classify_onnxruntime("MatMulIntegerToFloat", [[1, 8, 4]]) == "matrix product"
    assert classify_onnxruntime("ReorderInput", [[1, 8, 4, 4]]) == "copies, reshapes and layout"
    assert classify_openvino("GroupConvolution", "brgconv_avx512_f32", [8, 1, 1, 3, 3]) == "convolution depthwise"
    assert classify_openvino("Convolution", "brgconv_avx512_1x1_f32", []) == "convolution 1x1"
    assert classify_openvino("Convolution", "jit_avx512_dw_f32", []) == "convolution depthwise"
    assert classify_openvino("Convolution", "brgconv_avx512_f32", [8, 8, 3, 3]) == "convolution other"


def test_no_type_of_operation_has_two_classes() -> None:
    from latency import breakdown

    for table in (breakdown._TORCH, breakdown._ONNXRUNTIME, breakdown._OPENVINO):
        assert set(table.values()) <= {*OperationClass, breakdown._CONVOLUTION}
    with pytest.raises(ValueError, match="relu"):
        breakdown._by_type({"pointwise": "add relu", "other": "relu"})
