"""Extreme scales: the limits of engines, and quantisation parameters and quantised weights within them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evim_deploy.common.errors import BadInput
from evim_deploy.formats.tflite_writer import pack
from evim_deploy.graph.fixed_point import requantisation_error_bound
from evim_deploy.graph.half_precision import round_to_half
from evim_deploy.graph.interpreter import evaluate, round_to
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, FloatType, Palettised, QuantParams
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.equalisation import equalisation_exponents
from evim_deploy.quantise.qparams import EIGHT_BITS, SIXTEEN_BITS, QuantRange, choose_qparams, min_scale
from evim_deploy.quantise.quantise_graph import encode_node, quantise_graph
from evim_deploy.quantise.scale_limits import limit_scales
from evim_deploy.quantise.schemes import SCHEMES, Scheme
from evim_deploy.quantise.weight_quantisation import WeightQuantisation
from exporters.tflite import file as tflite_file
from exporters.tflite.integers import write
from runtimes.litert.process import Crashed, LitertProcess

INT8, INT16X8 = SCHEMES["tflite", "int8"], SCHEMES["tflite", "int16x8"]
SHAPE = (1, 3, 6, 6)
STEP = 1e-3
Array = npt.NDArray[np.float64]


def qparams_of(scale: float, scheme: Scheme = INT8) -> QuantParams:
    return QuantParams(scale, 128, 0, 255) if scheme is INT8 else QuantParams(scale, 0, -32767, 32767)


def kernel(values: float, depthwise: bool = False) -> Node:
    shape, groups = ((3, 1, 3, 3), 3) if depthwise else ((20, 3, 1, 1), 1)
    weights = {"kernel": np.full(shape, values), "bias": np.zeros(shape[0])}
    attributes = {"stride": 1, "padding": int(depthwise), "groups": groups}
    return Node(op="conv", inputs=("image",), outputs=("out",), weights=weights, attributes=attributes)


def two(op: str, scale: float, other: float, scheme: Scheme) -> tuple[list[Node], dict[str, QuantParams]]:
    """An operation whose inputs are the image and a multiple of it."""
    weights = {"kernel": np.full((3, 1, 1, 1), other / scale)}
    copy = Node(
        op="conv",
        inputs=("image",),
        outputs=("b",),
        weights=weights,
        attributes={"stride": 1, "padding": 0, "groups": 3},
    )
    return [copy, Node(op=op, inputs=("image", "b"), outputs=("out",))], {"b": qparams_of(other, scheme)}


def case(op: str, ratio: float, scheme: Scheme) -> Graph:
    """A graph of one operation whose sums have ``ratio`` times the step of its output."""
    step = ratio * STEP
    input_scale, nodes = step, [Node(op=op, inputs=("image",), outputs=("out",))]
    qparams: dict[str, QuantParams] = {}
    if op in ("add", "subtract"):
        nodes, qparams = two(op, step, STEP, scheme)
    elif op == "multiply":
        input_scale = 1.0
        nodes, qparams = two(op, input_scale, step, scheme)
    elif op in ("conv", "depthwise"):
        input_scale = STEP
        nodes = [kernel(127 * ratio, op == "depthwise")]
    elif op == "shift":
        input_scale = STEP
        nodes = [replace(nodes[0], weights={"bias": np.array([1.0, -1.0, 0.5]) * 127 * step})]
    qparams |= {"image": qparams_of(input_scale, scheme), "out": qparams_of(STEP, scheme)}
    return Graph("image", nodes, {"logits": "out"}, qparams)


class Engine:
    """One LiteRT process for many files: it takes far longer to start than to run them."""

    def __init__(self) -> None:
        self._process: LitertProcess | None = None

    def run(self, content: bytes, x: npt.NDArray[np.float32], keeps_all: bool) -> npt.NDArray[np.float32]:
        """The logits of an image (B, H, W, 3)."""
        if self._process is None:
            self._process = LitertProcess(content, 1, keeps_all)
        process = self._process
        self._process = None  # it may end
        process._call("open", content, 1, keeps_all)
        process.allocate()
        actual = process.run(x)["logits"]
        self._process = process
        return actual


ENGINE = Engine()


def off(graph: Graph, scheme: Scheme, keeps_all: bool) -> float:
    """Error of LiteRT's own kernels, or of XNNPACK's, against the simulated graph on random inputs, in steps."""
    content = pack(write(graph, SHAPE, scheme.integer_ops, pixels=False))
    model = tflite_file.parse(content)
    tensors = model.subgraphs[0]
    tflite_file.sign(model, {"image": tensors.inputs[0]}, {"logits": tensors.outputs[0]})
    qparams = graph.qparams["image"]
    integers = np.random.RandomState(1).randint(qparams.qmin, qparams.qmax + 1, SHAPE)
    x = ((integers - qparams.zero_point) * qparams.scale).astype(np.float32)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    actual = ENGINE.run(pack(model), channels_last, keeps_all).transpose(0, 3, 1, 2)
    expected = evaluate(graph, torch.from_numpy(x).double())["logits"].numpy()
    return float(np.abs(actual - expected).max() / graph.qparams["out"].scale)


def made(graph: Graph, scheme: Scheme) -> Graph:
    return quantise_graph(Graph(graph.input_name, graph.nodes, graph.outputs), scheme, graph.qparams)


def limited(graph: Graph, scheme: Scheme) -> Graph:
    """The same graph with scales that engines can compute with."""
    roots = {name: name for name in graph.qparams}
    qparams = limit_scales(graph, scheme, roots=roots, qparams=graph.qparams, dtype=np.float32)
    return Graph(graph.input_name, graph.nodes, graph.outputs, qparams)


OPERATIONS = ("add", "subtract", "multiply", "conv", "depthwise", "shift", "mean_channels")


class TestEngines:
    """Limits of LiteRT that scale_limits.py relies on."""

    @pytest.mark.parametrize("op", OPERATIONS)
    def test_values_are_correct_within_the_limit_and_scales_coarser_beyond_it(self, op: str) -> None:
        for ratio in (2.0**-30, 1.0, 2.0**6.9, 2.0**40):
            graph = limited(case(op, ratio, INT8), INT8)
            is_coarser = graph.qparams["out"].scale > STEP
            assert is_coarser == (ratio > 2**30), ratio
            for keeps_all in (False, True):
                assert off(made(graph, INT8), INT8, keeps_all) < 1.01, (ratio, keeps_all)

    @pytest.mark.parametrize("op", ["add", "conv", "depthwise"])
    def test_16_bit_values_too(self, op: str) -> None:
        for ratio in (2.0**-30, 1 / 127, 0.9, 2.0**20):
            graph = limited(case(op, ratio, INT16X8), INT16X8)
            assert (graph.qparams["out"].scale > STEP) == (ratio > 1), ratio
            assert off(made(graph, INT16X8), INT16X8, keeps_all=False) < 1.6, ratio

    @pytest.mark.parametrize(("op", "scheme", "ratio"), [("add", INT8, 2.0**19), ("add", INT16X8, 2.0**14)])
    def test_an_addition_beyond_the_limit_aborts_the_process(self, op: str, scheme: Scheme, ratio: float) -> None:
        with pytest.raises(Crashed, match="SIGABRT"):
            off(made(case(op, ratio, scheme), scheme), scheme, keeps_all=True)

    def test_other_operations_beyond_the_limit_are_wrong(self) -> None:
        assert off(made(case("add", 2.0**9, INT8), INT8), INT8, keeps_all=True) > 100
        assert off(made(case("multiply", 2.0**20, INT8), INT8), INT8, keeps_all=True) > 100

    def test_the_error_of_a_mean_stays_within_the_bound(self) -> None:
        """LiteRT's own kernel rounds the zero point separately, and rescales in two steps."""
        draw, largest = np.random.RandomState(0), 0.0
        for scale in draw.uniform(0.3e-3, 0.9e-3, 6):
            node = Node(op="mean", inputs=("image",), outputs=("out",), attributes={"keep": True})
            qparams = {"image": QuantParams(STEP, 0, 0, 255), "out": QuantParams(float(scale), 0, 0, 255)}
            graph = Graph("image", [node], {"logits": "out"}, qparams)
            allowed = requantisation_error_bound(node, qparams, qparams["out"]) / qparams["out"].scale
            assert allowed == 1.25
            actual = off(graph, INT8, keeps_all=True)
            assert actual < 1.01  # in steps of the output; the exact mean is up to half a step further
            largest = max(largest, actual)
        assert largest > 0.99


class TestQuantParams:
    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("quant_range", [EIGHT_BITS, SIXTEEN_BITS, QuantRange(0, 255, is_symmetric=True)])
    @pytest.mark.parametrize("ends", [(0.0, 0.0), (1e-45, 1e-42), (-1e-40, 0.0), (-1e-30, 1e-30)])
    def test_the_min_scale_is_a_normal_number_whose_square_is_one(
        self, ends: tuple[float, float], quant_range: QuantRange, dtype: FloatType
    ) -> None:
        actual = choose_qparams(*ends, quant_range, dtype)
        assert actual.scale == min_scale(dtype) >= np.finfo(dtype).tiny
        assert actual.qmin <= actual.zero_point <= actual.qmax
        assert round_to(actual, torch.zeros(1)) == 0
        assert np.float32(min_scale(np.float32)) ** 2 >= np.finfo(np.float32).tiny

    @pytest.mark.parametrize("ends", [(-3.4e38, 3.4e38), (0.0, 3.4e38), (-1e30, 1e-30)])
    @pytest.mark.parametrize("quant_range", [EIGHT_BITS, SIXTEEN_BITS])
    def test_huge_ranges_are_represented(self, ends: tuple[float, float], quant_range: QuantRange) -> None:
        actual = choose_qparams(*ends, quant_range)
        assert np.isfinite(actual.scale)
        values = torch.tensor(ends, dtype=torch.float64)
        assert ((round_to(actual, values) - values).abs() <= 0.51 * actual.scale).all()

    @pytest.mark.parametrize("value", [5.0, -5.0, 1e-5])
    def test_a_constant_is_represented_exactly(self, value: float) -> None:
        actual = choose_qparams(value, value, EIGHT_BITS)
        assert float(round_to(actual, torch.tensor(value, dtype=torch.float64))) == pytest.approx(value, rel=1e-6)

    def test_zeros_get_the_scale_of_the_sum_that_they_are_part_of(self) -> None:
        nodes, qparams = two("add", STEP, STEP, INT8)
        zeros = replace(nodes[0], weights={"kernel": np.zeros((3, 1, 1, 1))})
        qparams = {"image": qparams_of(STEP), "b": choose_qparams(0, 0, EIGHT_BITS), "out": qparams_of(2 * STEP)}
        actual = limited(Graph("image", [zeros, nodes[1]], {"logits": "out"}, qparams), INT8)
        assert actual.qparams["b"].scale == np.float32(2 * STEP)
        assert actual.qparams["out"] == qparams["out"]
        assert off(made(actual, INT8), INT8, keeps_all=False) < 1.01

    def test_scales_within_the_limits_do_not_change(self) -> None:
        for op in OPERATIONS:
            graph = case(op, 1 / 64, INT8)
            assert limited(graph, INT8).qparams == graph.qparams


class TestWeights:
    QUANTISATIONS = (
        WeightQuantisation(bits=8),
        WeightQuantisation(bits=4, group_size=32, dtype=np.float16),
        WeightQuantisation(bits=8, dtype=np.float16),
        WeightQuantisation(bits=8, palettise=True, dtype=np.float16),
        WeightQuantisation(bits=4, palettise=True, dtype=np.float16),
    )

    @pytest.mark.parametrize("quantisation", QUANTISATIONS)
    @pytest.mark.parametrize(
        "change",
        [
            lambda kernel: kernel * 0,
            lambda kernel: kernel * (np.arange(16) > 0)[:, None],
            lambda kernel: kernel * (np.arange(64) >= 32),
            lambda kernel: np.full_like(kernel, 0.25),
            lambda kernel: np.sign(kernel),
            lambda kernel: kernel * 1e-42,
            lambda kernel: kernel * np.logspace(-30, 3, 16)[:, None],
        ],
    )
    def test_degenerate_kernels_are_encoded(
        self, quantisation: WeightQuantisation, change: Callable[[Array], Array]
    ) -> None:
        kernel = change(np.random.default_rng(0).normal(size=(16, 64)))
        with np.errstate(all="raise", under="ignore"):
            actual = quantisation.encode(kernel)
        assert isinstance(actual, (AffineQuantised, Palettised))
        error = np.abs(actual.dequantise() - kernel)
        if isinstance(actual, Palettised):
            assert error.max() <= max(np.abs(kernel).max(), np.finfo(quantisation.dtype).smallest_subnormal)
            return
        assert not actual.dequantise()[kernel == 0].any()
        assert (actual.scale >= np.finfo(quantisation.dtype).tiny).all()
        scale = actual.scale if actual.group_size is None else np.repeat(actual.scale, actual.group_size, axis=1)
        assert (error <= (0.51 if quantisation.bits == 8 else 4) * scale).all()

    def test_a_channel_of_zeros_has_a_bias_as_fine_as_the_others(self) -> None:
        weights = {"kernel": np.ones((2, 3, 1, 1)) * [[[[0.0]]], [[[1.0]]]], "bias": np.array([0.0123456, 0.5])}
        node = Node(
            op="conv",
            inputs=("image",),
            outputs=("out",),
            weights=weights,
            attributes={"stride": 1, "padding": 0, "groups": 1},
        )
        actual = encode_node(node, INT8, {"image": qparams_of(2.0), "out": qparams_of(STEP)})
        assert np.abs(actual.weights["bias"][0] - 0.0123456) < 1e-10
        assert not actual.weights["kernel"][0].any()

    @pytest.mark.parametrize("bias", [None, np.zeros(2), np.array([1e9, -1e-30])])
    def test_units_of_sums_are_normal_numbers(self, bias: Array | None) -> None:
        weights = {"kernel": np.full((2, 3, 1, 1), 1e-38)} | ({} if bias is None else {"bias": bias})
        node = Node(
            op="conv",
            inputs=("image",),
            outputs=("out",),
            weights=weights,
            attributes={"stride": 1, "padding": 0, "groups": 1},
        )
        image = qparams_of(min_scale(np.float32))
        actual = encode_node(node, INT8, {"image": image, "out": qparams_of(STEP)})
        kernel = actual.encodings["kernel"]
        assert isinstance(kernel, AffineQuantised)
        assert (np.float32(image.scale) * kernel.scale.astype(np.float32) >= np.finfo(np.float32).tiny).all()
        if bias is not None:
            assert np.allclose(actual.weights["bias"], bias, rtol=1e-6, atol=1e-30)


class TestOverflow:
    GRAPH = Graph(
        "image", [kernel(1e34), Node(op="multiply", inputs=("out", "out"), outputs=("square",))], {"logits": "square"}
    )

    def images(self, value: float) -> list[npt.NDArray[np.float32]]:
        return [np.full(SHAPE, value, np.float32)]

    def test_an_overflow_of_float32_names_the_operation(self) -> None:
        for find in (
            lambda: calibrate(self.GRAPH, INT8, self.images(200.0), pixels=True),
            lambda: equalisation_exponents(self.GRAPH, self.images(200.0)),
        ):
            with pytest.raises(BadInput, match=r"overflows float32 .* square \(multiply\)"):
                find()

    def test_an_overflow_of_float16_names_the_value(self) -> None:
        graph = Graph("image", [kernel(100.0)], {"logits": "out"})
        scheme = SCHEMES["coreml", "w8a8"]
        with pytest.raises(BadInput, match=r"overflows float16: out reaches 7\.65e.04"):
            calibrate(graph, scheme, self.images(255.0), pixels=True)
        assert calibrate(graph, scheme, self.images(100.0), pixels=True)

    def test_weights_beyond_float16_are_rejected(self) -> None:
        with pytest.raises(BadInput, match=r"kernel of out, .* reaches 7e.04"):
            round_to_half(Graph("image", [kernel(7e4)], {"logits": "out"}))
        assert round_to_half(Graph("image", [kernel(6e4)], {"logits": "out"}))


def test_a_bias_far_beyond_the_output_does_not_wrap_around() -> None:
    """16-bit values: a bias of -1 before a ReLU whose outputs are tiny."""
    node = kernel(1e-12)
    node = replace(node, weights={**node.weights, "bias": np.linspace(-2.0, -0.01, 20)}, outputs=("sum",))
    qparams = {"image": qparams_of(STEP, INT16X8), "out": qparams_of(2e-10, INT16X8)}
    graph = Graph("image", [node, Node(op="relu", inputs=("sum",), outputs=("out",))], {"logits": "out"}, qparams)
    actual = limited(graph, INT16X8)
    assert off(made(graph, INT16X8), INT16X8, keeps_all=True) > 1000
    assert off(made(actual, INT16X8), INT16X8, keeps_all=True) < 1.01
