"""Scales at their ends: what engines compute right, and grids and codes that stay within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evim_deploy.common.errors import BadInput
from evim_deploy.formats.tflite_writer import pack
from evim_deploy.graph.fixed_point import explained
from evim_deploy.graph.half_precision import rounded
from evim_deploy.graph.interpreter import evaluate, round_to
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, Palettised, QuantParams
from evim_deploy.quantise.apply import encoded, quantised
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.encoding import Weighting
from evim_deploy.quantise.equalisation import find_exponents
from evim_deploy.quantise.limits import within_limits
from evim_deploy.quantise.qparams import EIGHT_BITS, SIXTEEN_BITS, QuantRange, choose_qparams, least_scale
from evim_deploy.quantise.schemes import SCHEMES, Scheme
from exporters.tflite import file as tflite_file
from exporters.tflite.integers import write
from runtimes.litert.process import Crashed, LitertProcess

INT8, INT16X8 = SCHEMES["tflite", "int8"], SCHEMES["tflite", "int16x8"]
SHAPE = (1, 3, 6, 6)
STEP = 1e-3
Array = npt.NDArray[np.float64]


def grid(scale: float, scheme: Scheme = INT8) -> QuantParams:
    return QuantParams(scale, 128, 0, 255) if scheme is INT8 else QuantParams(scale, 0, -32767, 32767)


def kernel(values: float, depthwise: bool = False) -> Node:
    shape, groups = ((3, 1, 3, 3), 3) if depthwise else ((20, 3, 1, 1), 1)
    weights = {"kernel": np.full(shape, values), "bias": np.zeros(shape[0])}
    attributes = {"stride": 1, "padding": int(depthwise), "groups": groups}
    return Node(op="conv", inputs=("image",), outputs=("out",), weights=weights, attributes=attributes)


def two(op: str, taken: float, other: float, scheme: Scheme) -> tuple[list[Node], dict[str, QuantParams]]:
    """An operation on the image and on a multiple of it."""
    weights = {"kernel": np.full((3, 1, 1, 1), other / taken)}
    copy = Node(
        op="conv",
        inputs=("image",),
        outputs=("b",),
        weights=weights,
        attributes={"stride": 1, "padding": 0, "groups": 3},
    )
    return [copy, Node(op=op, inputs=("image", "b"), outputs=("out",))], {"b": grid(other, scheme)}


def case(op: str, ratio: float, scheme: Scheme) -> Graph:
    """A graph of one operation whose sums have ``ratio`` times the step of what it gives."""
    step = ratio * STEP
    taken, nodes = step, [Node(op=op, inputs=("image",), outputs=("out",))]
    qparams: dict[str, QuantParams] = {}
    if op in ("add", "subtract"):
        nodes, qparams = two(op, step, STEP, scheme)
    elif op == "multiply":
        taken = 1.0
        nodes, qparams = two(op, taken, step, scheme)
    elif op in ("conv", "depthwise"):
        taken = STEP
        nodes = [kernel(127 * ratio, op == "depthwise")]
    elif op == "shift":
        taken = STEP
        nodes = [replace(nodes[0], weights={"bias": np.array([1.0, -1.0, 0.5]) * 127 * step})]
    qparams |= {"image": grid(taken, scheme), "out": grid(STEP, scheme)}
    return Graph("image", nodes, {"logits": "out"}, qparams)


class Engine:
    """One process of LiteRT for many files: to start it takes far longer than to run them."""

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
        found = process.run(x)["logits"]
        self._process = process
        return found


ENGINE = Engine()


def off(graph: Graph, scheme: Scheme, keeps_all: bool) -> float:
    """How far LiteRT is from the simulated graph on random codes, in steps; its own kernels' or XNNPACK's."""
    content = pack(write(graph, SHAPE, scheme.integers, pixels=False))
    model = tflite_file.parse(content)
    tensors = model.subgraphs[0]
    tflite_file.sign(model, {"image": tensors.inputs[0]}, {"logits": tensors.outputs[0]})
    taken = graph.qparams["image"]
    codes = np.random.RandomState(1).randint(taken.least, taken.most + 1, SHAPE)
    x = ((codes - taken.zero_point) * taken.scale).astype(np.float32)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    found = ENGINE.run(pack(model), channels_last, keeps_all).transpose(0, 3, 1, 2)
    expected = evaluate(graph, torch.from_numpy(x).double())["logits"].numpy()
    return float(np.abs(found - expected).max() / graph.qparams["out"].scale)


def made(graph: Graph, scheme: Scheme) -> Graph:
    return quantised(Graph(graph.input_name, graph.nodes, graph.outputs), scheme, graph.qparams)


def limited(graph: Graph, scheme: Scheme) -> Graph:
    """The same with grids that engines can compute with."""
    roots = {name: name for name in graph.qparams}
    qparams = within_limits(graph, scheme, roots, graph.qparams, np.float32)
    return Graph(graph.input_name, graph.nodes, graph.outputs, qparams)


OPERATIONS = ("add", "subtract", "multiply", "conv", "depthwise", "shift", "mean_channels")


class TestEngines:
    """What limits.py says of LiteRT."""

    @pytest.mark.parametrize("op", OPERATIONS)
    def test_up_to_the_limit_values_are_right_and_beyond_it_grids_are_made_coarser(self, op: str) -> None:
        for ratio in (2.0**-30, 1.0, 2.0**6.9, 2.0**40):
            graph = limited(case(op, ratio, INT8), INT8)
            is_coarser = graph.qparams["out"].scale > STEP
            assert is_coarser == (ratio > 2**30), ratio
            for keeps_all in (False, True):
                assert off(made(graph, INT8), INT8, keeps_all) < 1.01, (ratio, keeps_all)

    @pytest.mark.parametrize("op", ["add", "conv", "depthwise"])
    def test_of_16_bits_too(self, op: str) -> None:
        for ratio in (2.0**-30, 1 / 127, 0.9, 2.0**20):
            graph = limited(case(op, ratio, INT16X8), INT16X8)
            assert (graph.qparams["out"].scale > STEP) == (ratio > 1), ratio
            assert off(made(graph, INT16X8), INT16X8, keeps_all=False) < 1.6, ratio

    @pytest.mark.parametrize(("op", "scheme", "ratio"), [("add", INT8, 2.0**19), ("add", INT16X8, 2.0**14)])
    def test_without_that_an_addition_ends_the_process(self, op: str, scheme: Scheme, ratio: float) -> None:
        with pytest.raises(Crashed, match="SIGABRT"):
            off(made(case(op, ratio, scheme), scheme), scheme, keeps_all=True)

    def test_and_others_are_wrong(self) -> None:
        assert off(made(case("add", 2.0**9, INT8), INT8), INT8, keeps_all=True) > 100
        assert off(made(case("multiply", 2.0**20, INT8), INT8), INT8, keeps_all=True) > 100

    def test_a_mean_is_off_by_what_is_explained(self) -> None:
        """LiteRT's own kernel rounds the zero point by itself, and rescales in two steps."""
        draw, largest = np.random.RandomState(0), 0.0
        for scale in draw.uniform(0.3e-3, 0.9e-3, 6):
            node = Node(op="mean", inputs=("image",), outputs=("out",), attributes={"keep": True})
            qparams = {"image": QuantParams(STEP, 0, 0, 255), "out": QuantParams(float(scale), 0, 0, 255)}
            graph = Graph("image", [node], {"logits": "out"}, qparams)
            allowed = explained(node, qparams, qparams["out"]) / qparams["out"].scale
            assert allowed == 1.25
            found = off(graph, INT8, keeps_all=True)
            assert found < 1.01  # codes; the mean itself is up to half a step further
            largest = max(largest, found)
        assert largest > 0.99


class TestGrids:
    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("codes", [EIGHT_BITS, SIXTEEN_BITS, QuantRange(0, 255, is_symmetric=True)])
    @pytest.mark.parametrize("ends", [(0.0, 0.0), (1e-45, 1e-42), (-1e-40, 0.0), (-1e-30, 1e-30)])
    def test_the_least_scale_is_a_normal_number_whose_square_is_one(
        self, ends: tuple[float, float], codes: QuantRange, dtype: type[np.floating[Any]]
    ) -> None:
        found = choose_qparams(*ends, codes, dtype)
        assert found.scale == least_scale(dtype) >= np.finfo(dtype).tiny
        assert found.least <= found.zero_point <= found.most
        assert round_to(found, torch.zeros(1)) == 0
        assert np.float32(least_scale(np.float32)) ** 2 >= np.finfo(np.float32).tiny

    @pytest.mark.parametrize("ends", [(-3.4e38, 3.4e38), (0.0, 3.4e38), (-1e30, 1e-30)])
    @pytest.mark.parametrize("codes", [EIGHT_BITS, SIXTEEN_BITS])
    def test_huge_ranges_are_covered(self, ends: tuple[float, float], codes: QuantRange) -> None:
        found = choose_qparams(*ends, codes)
        assert np.isfinite(found.scale)
        values = torch.tensor(ends, dtype=torch.float64)
        assert ((round_to(found, values) - values).abs() <= 0.51 * found.scale).all()

    @pytest.mark.parametrize("value", [5.0, -5.0, 1e-5])
    def test_a_constant_is_kept_exactly(self, value: float) -> None:
        found = choose_qparams(value, value, EIGHT_BITS)
        assert float(round_to(found, torch.tensor(value, dtype=torch.float64))) == pytest.approx(value, rel=1e-6)

    def test_zeros_take_the_scale_of_the_sum_that_they_are_part_of(self) -> None:
        nodes, qparams = two("add", STEP, STEP, INT8)
        zeros = replace(nodes[0], weights={"kernel": np.zeros((3, 1, 1, 1))})
        qparams = {"image": grid(STEP), "b": choose_qparams(0, 0, EIGHT_BITS), "out": grid(2 * STEP)}
        found = limited(Graph("image", [zeros, nodes[1]], {"logits": "out"}, qparams), INT8)
        assert found.qparams["b"].scale == np.float32(2 * STEP)
        assert found.qparams["out"] == qparams["out"]
        assert off(made(found, INT8), INT8, keeps_all=False) < 1.01

    def test_grids_within_the_limits_stay_as_they_are(self) -> None:
        for op in OPERATIONS:
            graph = case(op, 1 / 64, INT8)
            assert limited(graph, INT8).qparams == graph.qparams


class TestWeights:
    WEIGHTINGS = (
        Weighting(bits=8),
        Weighting(bits=4, block=32, dtype=np.float16),
        Weighting(bits=8, dtype=np.float16),
        Weighting(bits=8, table=True, dtype=np.float16),
        Weighting(bits=4, table=True, dtype=np.float16),
    )

    @pytest.mark.parametrize("weighting", WEIGHTINGS)
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
    def test_degenerate_kernels_have_finite_codes(self, weighting: Weighting, change: Callable[[Array], Array]) -> None:
        kernel = change(np.random.default_rng(0).normal(size=(16, 64)))
        with np.errstate(all="raise", under="ignore"):
            found = weighting.encode(kernel)
        assert isinstance(found, (AffineQuantised, Palettised))
        error = np.abs(found.decoded() - kernel)
        if isinstance(found, Palettised):
            assert error.max() <= max(np.abs(kernel).max(), np.finfo(weighting.dtype).smallest_subnormal)
            return
        assert not found.decoded()[kernel == 0].any()
        assert (found.scale >= np.finfo(weighting.dtype).tiny).all()
        scale = found.scale if found.block is None else np.repeat(found.scale, found.block, axis=1)
        assert (error <= (0.51 if weighting.bits == 8 else 4) * scale).all()

    def test_a_channel_without_weights_has_its_bias_as_fine_as_the_others(self) -> None:
        weights = {"kernel": np.ones((2, 3, 1, 1)) * [[[[0.0]]], [[[1.0]]]], "bias": np.array([0.0123456, 0.5])}
        node = Node(
            op="conv",
            inputs=("image",),
            outputs=("out",),
            weights=weights,
            attributes={"stride": 1, "padding": 0, "groups": 1},
        )
        found = encoded(node, INT8, {"image": grid(2.0), "out": grid(STEP)})
        assert np.abs(found.weights["bias"][0] - 0.0123456) < 1e-10
        assert not found.weights["kernel"][0].any()

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
        taken = grid(least_scale(np.float32))
        found = encoded(node, INT8, {"image": taken, "out": grid(STEP)})
        kernel = found.encodings["kernel"]
        assert isinstance(kernel, AffineQuantised)
        assert (np.float32(taken.scale) * kernel.scale.astype(np.float32) >= np.finfo(np.float32).tiny).all()
        if bias is not None:
            assert np.allclose(found.weights["bias"], bias, rtol=1e-6, atol=1e-30)


class TestRefused:
    GRAPH = Graph(
        "image", [kernel(1e34), Node(op="multiply", inputs=("out", "out"), outputs=("square",))], {"logits": "square"}
    )

    def images(self, value: float) -> list[npt.NDArray[np.float32]]:
        return [np.full(SHAPE, value, np.float32)]

    def test_a_network_that_overflows_float32_is_named_with_the_operation(self) -> None:
        for find in (
            lambda: calibrate(self.GRAPH, INT8, self.images(200.0), pixels=True),
            lambda: find_exponents(self.GRAPH, self.images(200.0)),
        ):
            with pytest.raises(BadInput, match=r"overflows float32 .* square \(multiply\)"):
                find()

    def test_one_that_overflows_float16_too(self) -> None:
        graph = Graph("image", [kernel(100.0)], {"logits": "out"})
        scheme = SCHEMES["coreml", "w8a8"]
        with pytest.raises(BadInput, match=r"overflows float16: out reaches 7\.65e.04"):
            calibrate(graph, scheme, self.images(255.0), pixels=True)
        assert calibrate(graph, scheme, self.images(100.0), pixels=True)

    def test_weights_that_float16_does_not_have(self) -> None:
        with pytest.raises(BadInput, match=r"kernel of out, .* reaches 7e.04"):
            rounded(Graph("image", [kernel(7e4)], {"logits": "out"}))
        assert rounded(Graph("image", [kernel(6e4)], {"logits": "out"}))


def test_a_bias_far_beyond_the_output_does_not_wrap_around() -> None:
    """Of 16 bits: a bias of -1 before a ReLU whose values are next to nothing."""
    node = kernel(1e-12)
    node = replace(node, weights={**node.weights, "bias": np.linspace(-2.0, -0.01, 20)}, outputs=("sum",))
    qparams = {"image": grid(STEP, INT16X8), "out": grid(2e-10, INT16X8)}
    graph = Graph("image", [node, Node(op="relu", inputs=("sum",), outputs=("out",))], {"logits": "out"}, qparams)
    found = limited(graph, INT16X8)
    assert off(made(graph, INT16X8), INT16X8, keeps_all=True) > 1000
    assert off(made(found, INT16X8), INT16X8, keeps_all=True) < 1.01
