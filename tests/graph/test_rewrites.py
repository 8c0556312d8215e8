"""Each exact rewrite: the operations that it removes, the values that it preserves, and its match failures."""

from __future__ import annotations

import ast
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from networks import pixels, random_network, random_tiny, relative_gap
from torch import Tensor

from evim_deploy.catalog.variants import PUBLISHED
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.interpreter import run as values_of
from evim_deploy.graph.ir import RESCALED, Array, Attribute, Graph, Node, spread
from evim_deploy.graph.ops import validate
from evim_deploy.graph.rewrites import (
    DROP_STATE_BIAS,
    FACTOR_GATE,
    FOLD_BATCH_NORM,
    FOLD_DEPTHWISE_RESIDUAL,
    FOLD_INPUT_SCALE,
    FOLD_LAYER_NORM,
    FOLD_LAYER_SCALE,
    FOLD_MIXER_SCALE,
    FOLD_RESIDUAL_SCALE,
    FUSE_HEADS,
    REWRITES,
    SPREAD_TOKEN_WEIGHTS,
    Rewrite,
    RewriteResult,
    reparameterise,
    run,
)
from evim_deploy.networks.efficientvim.lowering import lower

ONE_REWRITE = 1e-12
ALL_REWRITES = 1e-11
TASKS = (("classify", "logits", False), ("classify", "probabilities", True), ("features", "logits", False))


def lowered(seed: int, task: str, output: str, distilled: bool, preprocess: bool = True) -> Graph:
    return lower(random_tiny(seed, distilled=distilled), task, output, preprocess)


def assert_same_nodes(actual: Sequence[Node], expected: Sequence[Node]) -> None:
    assert [id(node) for node in actual] == [id(node) for node in expected]


# --- each alone on a network -----------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """The properties of a network that the counts of a rewrite depend on."""

    blocks: int
    classify: bool
    distilled: bool

    @property
    def conv_norms(self) -> int:
        return 4 + 4 * self.blocks + 2 * 5  # stem, blocks, down-samplings

    @property
    def whole_ends(self) -> int:
        """The number of stages whose last map is read unchanged: by a head, or as a dense feature."""
        return 1 if self.classify else 3


@dataclass(frozen=True)
class Algebra:
    """The effect of a rewrite on a whole network, and the rewrites that it needs before it."""

    applied: Callable[[Network], int]
    removed: Callable[[Network], Counter[str]]
    added: Callable[[Network], Counter[str]] = lambda network: Counter()
    after: tuple[Rewrite, ...] = ()


def head_counts(network: Network) -> Counter[str]:
    """A Linear and its share for each of four features, their sum, and the four affine parts under the means."""
    if not network.classify:
        return Counter()
    if network.distilled:  # the twin, and the mean of the two
        return Counter(linear=8 - 1, scale=8 + 1 + 4, add=3 + 1 + 3, shift=4)
    return Counter(linear=4 - 1, scale=4 + 4, add=3, shift=4)


ALGEBRA = {
    FOLD_BATCH_NORM: Algebra(
        lambda network: network.conv_norms, lambda network: Counter(batch_norm=network.conv_norms)
    ),
    FOLD_DEPTHWISE_RESIDUAL: Algebra(  # steps 0 and 2 of a block, both halves of two down-samplings
        lambda network: 2 * network.blocks + 4,
        lambda network: Counter(scale=4 * network.blocks, add=2 * network.blocks + 4),
        after=(FOLD_BATCH_NORM,),
    ),
    FOLD_RESIDUAL_SCALE: Algebra(  # the steps around the mixer and the FFN, but for the FFN's at the end of a stage
        lambda network: 2 * network.blocks - network.whole_ends,
        lambda network: Counter(scale=2 * network.blocks - network.whole_ends),
        after=(FOLD_BATCH_NORM, FOLD_DEPTHWISE_RESIDUAL),
    ),
    FOLD_LAYER_SCALE: Algebra(
        lambda network: network.blocks,
        lambda network: Counter(scale=network.blocks),
        after=(FOLD_BATCH_NORM, FOLD_DEPTHWISE_RESIDUAL),
    ),
    DROP_STATE_BIAS: Algebra(lambda network: network.blocks, lambda network: Counter(shift=network.blocks)),
    FOLD_MIXER_SCALE: Algebra(  # a last block whose h the head takes keeps a scale, of states
        lambda network: network.blocks,
        lambda network: Counter(scale=network.blocks - 3 * network.classify),
    ),
    FACTOR_GATE: Algebra(
        lambda network: network.blocks,
        lambda network: Counter(scale=network.blocks, add=network.blocks),
        lambda network: Counter(shift=network.blocks),
    ),
    FUSE_HEADS: Algebra(
        lambda network: int(network.classify), head_counts, lambda network: Counter(concat=int(network.classify))
    ),
    FOLD_LAYER_NORM: Algebra(
        lambda network: network.blocks,
        lambda network: Counter(scale=network.blocks, shift=network.blocks),
        lambda network: Counter(sum_tokens=network.blocks, pointwise_conv=network.blocks, add=network.blocks),
    ),
    FOLD_INPUT_SCALE: Algebra(lambda network: 1, lambda network: Counter(scale=1)),
}

by_rewrite = pytest.mark.parametrize("rewrite", ALGEBRA, ids=lambda rewrite: rewrite.name)


@by_rewrite
@pytest.mark.parametrize(("task", "output", "distilled"), TASKS)
@pytest.mark.parametrize("seed", range(3))
def test_alone_it_does_what_its_algebra_says(
    rewrite: Rewrite, task: str, output: str, distilled: bool, seed: int
) -> None:
    algebra = ALGEBRA[rewrite]
    graph = lowered(seed, task, output, distilled)
    for earlier in algebra.after:
        run(earlier, graph)
    image = pixels(seed, 33 + 14 * seed, 70 - 5 * seed)
    expected = evaluate(graph, image)

    result = run(rewrite, graph)

    blocks = sum(node.op == "state_readout" for node in graph.nodes)
    network = Network(blocks, task == "classify", distilled)
    assert result == RewriteResult(
        rewrite=rewrite.name,
        applied=algebra.applied(network),
        removed=+algebra.removed(network),
        added=+algebra.added(network),
        refused=(),
    )
    assert relative_gap(evaluate(graph, image), expected) < ONE_REWRITE


@by_rewrite
def test_a_second_time_it_does_not_match(rewrite: Rewrite) -> None:
    graph, _ = reparameterise(lowered(1, "classify", "logits", True))
    nodes = graph.nodes
    result = run(rewrite, graph)
    assert (result.applied, result.removed, result.added) == (0, Counter(), Counter())
    assert_same_nodes(graph.nodes, nodes)


def test_a_rescaled_map_goes_by_another_name() -> None:
    """Its name distinguishes it from the model's own map."""
    graph, _ = reparameterise(lowered(4, "classify", "logits", False))
    names = [node.name for node in graph.nodes if node.op == "add" and "residual" in node.name]
    assert [name for name in names if not name.endswith(RESCALED)] == [names[-1]]


def test_a_normalised_input_has_no_scale_to_fold() -> None:
    graph = lowered(2, "classify", "logits", False, preprocess=False)
    assert run(FOLD_INPUT_SCALE, graph) == RewriteResult(
        rewrite=FOLD_INPUT_SCALE.name, applied=0, removed=Counter(), added=Counter(), refused=()
    )


def test_before_the_residual_step_the_layer_scale_does_not_match() -> None:
    """The reason for the order: the first block's (1 - a) x is a scale on the stem's convolution."""
    graph = lowered(3, "classify", "logits", False)
    run(FOLD_BATCH_NORM, graph)
    reason = "patch_embed.conv.3.conv is used elsewhere without the scale"
    assert run(FOLD_LAYER_SCALE, graph).refused == (("stages.0.blocks.0.residual0.keep", reason),)


# --- all ten ---------------------------------------------------------------------------------------


def test_the_order_has_ten_distinct_entries() -> None:
    assert len(REWRITES) == len(set(REWRITES)) == len({rewrite.name for rewrite in REWRITES}) == 10
    assert set(REWRITES) == set(ALGEBRA)


def assert_all_hold(graph: Graph, image: Tensor) -> Graph:
    """Rewrite, and check the values, the results, and that the argument is unchanged."""
    nodes, outputs, expected = graph.nodes, dict(graph.outputs), evaluate(graph, image)
    rewritten, results = reparameterise(graph)
    assert relative_gap(evaluate(rewritten, image), expected) < ALL_REWRITES
    assert [result.rewrite for result in results] == [rewrite.name for rewrite in REWRITES]
    assert [result.refused for result in results] == [()] * 10
    assert rewritten.counts()["batch_norm"] == 0
    assert graph.nodes is nodes
    assert graph.outputs == outputs
    assert_same_nodes(graph.nodes, nodes)
    assert relative_gap(evaluate(graph, image), expected) == 0
    return rewritten


@pytest.mark.parametrize(("task", "output", "distilled"), [*TASKS, ("classify", "logits", True)])
@pytest.mark.parametrize("seed", range(10, 18))
def test_all_ten_keep_the_values(task: str, output: str, distilled: bool, seed: int) -> None:
    draw = random.Random(seed)
    image = pixels(seed, draw.randint(32, 110), draw.randint(32, 110), batch=draw.randint(1, 2))
    assert_all_hold(lowered(seed, task, output, distilled), image)


@pytest.mark.parametrize("name", PUBLISHED)
def test_all_ten_on_the_published_variants(name: str) -> None:
    model = random_network(PUBLISHED[name], seed=20, distilled=name == "m2")
    assert_all_hold(lower(model, "classify", "logits", preprocess=True), pixels(20, 64, 96))


def test_what_remains_is_what_the_algebra_leaves() -> None:
    graph, _ = reparameterise(lowered(21, "classify", "logits", True))
    blocks, stages = graph.counts()["state_readout"], 3
    assert graph.counts() == Counter(
        conv=4 + 6 * blocks + 7 * 2,  # a down-sampling's five, and two of its squeeze-and-excitation
        relu=3 + blocks + 3 * 2,
        layer_norm=blocks + stages + 1,
        flatten=2 * blocks,
        split=2 * blocks,
        softmax_tokens=blocks,
        multiply=2 * blocks + 2,
        state_update=blocks,
        state_readout=blocks,
        sum_tokens=blocks,
        pointwise_conv=3 * blocks,
        silu=blocks,
        shift=blocks + 1,  # the gate's d, and the image's mean
        unflatten=blocks,
        scale=1 + stages,  # the last (1 - a_3) x, and the states beside the head
        add=3 * blocks,
        sigmoid=2,
        mean=2 + stages + 1,
        concat=1,
        linear=1,
    )


@pytest.mark.parametrize("task", ["classify", "features"])
def test_the_comparison_sees_every_folded_weight(task: str) -> None:
    """One percent on any one array of weights is a difference far beyond the tolerance."""
    graph, _ = reparameterise(lowered(22, task, "logits", False))
    image = pixels(22, 64, 48)
    expected = evaluate(graph, image)
    for node in graph.nodes:
        for name, array in node.weights.items():
            changed = graph.copy()
            changed.substitute(node, node.with_weights(**{name: array * 1.01}))
            assert relative_gap(evaluate(changed, image), expected) > 1e3 * ALL_REWRITES, (node.name, name)


# --- small graphs: matches, match failures, absent patterns ------------------------------------------

CHANNELS = 4
CLASSES = 3


def weights_and_attributes(
    op: str,
    generator: np.random.Generator,
    *,
    size: int = CHANNELS,
    kernel: int = 1,
    groups: int = 1,
    stride: int = 1,
    padding: int | None = None,
    bias: bool = False,
) -> tuple[dict[str, Array], dict[str, Attribute]]:
    """Random weights of an operation on ``CHANNELS`` channels, and its attributes."""

    def array(*shape: int) -> Array:
        return generator.normal(size=shape)

    match op:
        case "conv":
            weights = {"kernel": array(CHANNELS, CHANNELS // groups, kernel, kernel)}
            if bias:
                weights["bias"] = array(CHANNELS)
            padding = kernel // 2 if padding is None else padding
            return weights, {"stride": stride, "padding": padding, "groups": groups}
        case "batch_norm":
            gamma, beta, mean, deviation = array(4, CHANNELS)
            return {"gamma": gamma, "beta": beta, "mean": mean, "variance": deviation**2}, {"eps": 1e-5}
        case "layer_norm":
            return {}, {"eps": 1e-5}
        case "scale":
            return {"scale": array(size)}, {}
        case "shift":
            return {"bias": array(size)}, {}
        case "pointwise_conv":
            return {"kernel": array(CHANNELS, CHANNELS)}, {}
        case "linear":
            return {"kernel": array(CLASSES, CHANNELS), "bias": array(CLASSES)}, {}
        case "mean":
            return {}, {"keep": False}
    return {}, {}


def sketch(source: str, outputs: tuple[str, ...] = ()) -> Graph:
    """A graph from a line such as ``c = conv(x, kernel=3); n = batch_norm(c)``, of the image ``x``.

    Its outputs are the values that nothing takes, and those named in ``outputs``.
    """
    graph, generator = Graph("x"), np.random.default_rng(0)
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign([ast.Name(name)], ast.Call(ast.Name(op), inputs, keywords)):
                options = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in keywords}
                weights, attributes = weights_and_attributes(op, generator, **options)
                graph.add(op, map(ast.unparse, inputs), name, weights, **attributes)
            case _:
                raise SyntaxError(ast.unparse(statement))
    graph.outputs = {node.name: node.name for node in graph.nodes if not graph.consumers(node.name)}
    graph.outputs |= {name: name for name in outputs}
    validate(graph)
    return graph


@dataclass(frozen=True)
class Case:
    """A small graph for one rewrite, with the root operation and reason of a match failure."""

    rewrite: Rewrite
    label: str
    source: str
    failing: str = ""
    reason: str = ""
    outputs: tuple[str, ...] = ()
    sides: tuple[int, int] = (3, 5)

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        return ((self.failing, self.reason),) if self.reason else ()

    def graph_and_image(self) -> tuple[Graph, Tensor]:
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(2, CHANNELS, *self.sides, generator=generator, dtype=torch.float64)
        return sketch(self.source, self.outputs), image


def by_case(cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.rewrite.name}: {case.label}")


AFFINE_NORM = "v = layer_norm(x); s = scale(v); u = shift(s); "
MIXER = (
    "t = flatten(x); w = state_update(t, t); h = pointwise_conv(w); "
    "r = state_readout(h, t); y = unflatten(r, x); a = scale(y); "
)
STEP = "k = scale(x); c = conv(x); b = scale(c); y = add(k, b); "
STATE_BIAS = "t = flatten(x); b = shift(t); p = softmax_tokens(b); "
GATE = "z = conv(x); p = multiply(x, z); s = scale(x); g = add(p, s); "
POOLED = AFFINE_NORM + "f = mean(u); "
HEADS = POOLED + "m = mean(x); k = linear(f); l = linear(m); logits = add(k, l); "
WEIGHTED = "t = flatten(x); p = softmax_tokens(t); w = multiply(p, t); "
WRITTEN = AFFINE_NORM + "t = flatten(u); w = conv(x); q = flatten(w); h = state_update(t, q); "

MATCHES = (
    Case(FOLD_BATCH_NORM, "a bias in the convolution", "c = conv(x, kernel=3, bias=True); n = batch_norm(c)"),
    Case(FOLD_BATCH_NORM, "a grouped convolution", "c = conv(x, kernel=3, groups=2); n = batch_norm(c)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "five by five", "d = conv(x, kernel=5, groups=4, bias=True); y = add(x, d)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "one by one", "d = conv(x, groups=4, bias=True); y = add(x, d)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "no bias", "d = conv(x, kernel=3, groups=4); y = add(x, d)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "the branch first", "d = conv(x, kernel=3, groups=4); y = add(d, x)"),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "one scale for all",
        "d = conv(x, kernel=3, groups=4, bias=True); s = scale(d, size=1); y = add(x, s)",
    ),
    Case(FOLD_DEPTHWISE_RESIDUAL, "x alone scaled", "k = scale(x); d = conv(x, kernel=3, groups=4); y = add(k, d)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "a scaled source", "s = scale(x); d = conv(s, kernel=3, groups=4); y = add(s, d)"),
    Case(FOLD_RESIDUAL_SCALE, "the branch second", STEP + "d = conv(y, kernel=3, groups=4, stride=2)"),
    Case(FOLD_RESIDUAL_SCALE, "a bias in the convolution", STEP + "d = conv(y, kernel=5, groups=4, bias=True)"),
    Case(FOLD_LAYER_SCALE, "a bias in the convolution", "c = conv(x, bias=True); a = scale(c)"),
    Case(FOLD_LAYER_SCALE, "one scale for all", "c = conv(x, kernel=3, groups=2, bias=True); a = scale(c, size=1)"),
    Case(FOLD_MIXER_SCALE, "states for y alone", MIXER),
    Case(FOLD_MIXER_SCALE, "states that are an output", MIXER, outputs=("h",)),
    Case(FOLD_MIXER_SCALE, "states of another use", MIXER + "o = layer_norm(h)"),
    Case(DROP_STATE_BIAS, "a state's bias", STATE_BIAS),
    Case(FACTOR_GATE, "g first", GATE),
    Case(FACTOR_GATE, "g second", "z = conv(x); p = multiply(z, x); s = scale(x); g = add(p, s)"),
    Case(FACTOR_GATE, "the skip first", "z = conv(x); p = multiply(x, z); s = scale(x); g = add(s, p)"),
    Case(FACTOR_GATE, "a square", "p = multiply(x, x); s = scale(x, size=1); g = add(p, s)"),
    Case(FUSE_HEADS, "one feature without an affine part", HEADS),
    Case(FUSE_HEADS, "two Linears of one feature", POOLED + "k = linear(f); l = linear(f); y = add(k, l)"),
    Case(FUSE_HEADS, "one Linear twice", POOLED + "k = linear(f); y = add(k, k)"),
    Case(
        FUSE_HEADS,
        "one feature that is not a mean",
        POOLED + "m = mean(x); r = relu(m); k = linear(r); l = linear(f); y = add(k, l)",
    ),
    Case(FUSE_HEADS, "a scale for each class", HEADS + "y = scale(logits, size=3); o = linear(m); z = add(y, o)"),
    Case(FOLD_LAYER_NORM, "a convolution alone", AFFINE_NORM + "c = conv(u, bias=True)"),
    Case(FOLD_LAYER_NORM, "two convolutions", AFFINE_NORM + "c = conv(u); d = conv(u)"),
    Case(FOLD_LAYER_NORM, "states alone", WRITTEN + "p = pointwise_conv(h)"),
    Case(FOLD_LAYER_NORM, "states and a convolution", WRITTEN + "p = pointwise_conv(h); c = conv(u)"),
    Case(
        FOLD_LAYER_NORM,
        "a map of its sides",
        WRITTEN + "p = pointwise_conv(h); o = state_readout(p, q); z = unflatten(o, u)",
    ),
    Case(FOLD_INPUT_SCALE, "without a mean", "s = scale(x); c = conv(s, kernel=3, bias=True)"),
    Case(FOLD_INPUT_SCALE, "one scale for all", "m = shift(x); s = scale(m, size=1); c = conv(s, kernel=3)"),
    Case(FOLD_INPUT_SCALE, "a mean used elsewhere", "m = shift(x); s = scale(m); c = conv(s, kernel=3); r = relu(m)"),
    Case(SPREAD_TOKEN_WEIGHTS, "states", WEIGHTED + "h = state_update(t, w)"),
    Case(SPREAD_TOKEN_WEIGHTS, "states and the sum", WEIGHTED + "h = state_update(t, w); s = sum_tokens(w)"),
)

# A sum of maps of different sizes exists where one of them is a single pixel.
FAILURES = (
    Case(
        FOLD_BATCH_NORM,
        "after a relu",
        "c = conv(x); r = relu(c); n = batch_norm(r)",
        "n",
        "its input is not a convolution",
    ),
    Case(FOLD_BATCH_NORM, "of the image", "n = batch_norm(x)", "n", "its input is not a convolution"),
    Case(
        FOLD_BATCH_NORM,
        "a convolution used twice",
        "c = conv(x); n = batch_norm(c); r = relu(c)",
        "n",
        "c is used elsewhere without the BatchNorm",
    ),
    Case(
        FOLD_BATCH_NORM,
        "a convolution that is an output",
        "c = conv(x); n = batch_norm(c)",
        "n",
        "c is used elsewhere without the BatchNorm",
        outputs=("c",),
    ),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "a stride",
        "d = conv(x, kernel=3, groups=4, stride=2); y = add(x, d)",
        "y",
        "d has a stride, so its output does not align with its input",
        sides=(1, 1),
    ),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "an even kernel",
        "d = conv(x, kernel=2, groups=4, padding=0); y = add(x, d)",
        "y",
        "d has no centre tap at the pixel it computes",
        sides=(2, 2),
    ),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "no padding",
        "d = conv(x, kernel=3, groups=4, padding=0); y = add(x, d)",
        "y",
        "d has no centre tap at the pixel it computes",
        sides=(3, 3),
    ),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "too much padding",
        "d = conv(x, kernel=3, groups=4, padding=2); y = add(x, d)",
        "y",
        "d has no centre tap at the pixel it computes",
        sides=(1, 1),
    ),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "a branch used elsewhere",
        "d = conv(x, kernel=3, groups=4); y = add(x, d); r = relu(d)",
        "y",
        "d is used elsewhere without the residual",
    ),
    Case(
        FOLD_DEPTHWISE_RESIDUAL,
        "a gated branch that is an output",
        "d = conv(x, kernel=3, groups=4); s = scale(d); y = add(x, s)",
        "y",
        "d is used elsewhere without the residual",
        outputs=("d",),
    ),
    Case(
        FOLD_RESIDUAL_SCALE,
        "an identity of another use",
        STEP + "d = conv(y, kernel=3, groups=4); r = relu(k)",
        "y",
        "k or b is used elsewhere, too",
    ),
    Case(
        FOLD_RESIDUAL_SCALE,
        "a branch that is an output",
        STEP + "d = conv(y, kernel=3, groups=4)",
        "y",
        "k or b is used elsewhere, too",
        outputs=("b",),
    ),
    Case(
        FOLD_LAYER_SCALE,
        "a shared convolution",
        "c = conv(x); a = scale(c); r = relu(c)",
        "a",
        "c is used elsewhere without the scale",
    ),
    Case(
        FOLD_LAYER_SCALE,
        "a convolution that is an output",
        "c = conv(x); a = scale(c)",
        "a",
        "c is used elsewhere without the scale",
        outputs=("c",),
    ),
    Case(
        FOLD_MIXER_SCALE,
        "the tokens used elsewhere",
        MIXER + "o = relu(r)",
        "a",
        "r is used elsewhere without the scale",
    ),
    Case(FOLD_MIXER_SCALE, "the tokens an output", MIXER, "a", "r is used elsewhere without the scale", ("r",)),
    Case(
        FOLD_MIXER_SCALE, "the map used elsewhere", MIXER + "o = relu(y)", "a", "r is used elsewhere without the scale"
    ),
    Case(
        FOLD_MIXER_SCALE,
        "states without a projection",
        "t = flatten(x); h = state_update(t, t); r = state_readout(h, t); y = unflatten(r, x); a = scale(y)",
        "a",
        "the states of r do not come from a projection",
    ),
    Case(
        DROP_STATE_BIAS,
        "over channels",
        "m = mean(x); b = shift(m); p = softmax_channels(b)",
        "b",
        "the softmax is over the channels, which the shift moves apart",
    ),
    Case(
        DROP_STATE_BIAS,
        "used elsewhere",
        STATE_BIAS + "o = relu(b)",
        "b",
        "the shifted value is used outside of the softmax",
    ),
    Case(DROP_STATE_BIAS, "an output", STATE_BIAS, "b", "the shifted value is used outside of the softmax", ("b",)),
    Case(
        FACTOR_GATE,
        "another factor",
        "z = conv(x); p = multiply(x, z); r = relu(z); s = scale(r); g = add(p, s)",
        "g",
        "the scaled value is not a factor of the product",
    ),
    Case(FACTOR_GATE, "the product an output", GATE, "g", "the product or the scaled value is used elsewhere", ("p",)),
    Case(
        FACTOR_GATE,
        "the skip used elsewhere",
        GATE + "o = relu(s)",
        "g",
        "the product or the scaled value is used elsewhere",
    ),
    Case(
        FUSE_HEADS,
        "something not linear",
        POOLED + "k = linear(f); l = linear(f); r = relu(l); y = add(k, r)",
        "y",
        "something is added that does not come from a Linear",
    ),
    Case(FUSE_HEADS, "a feature used elsewhere", HEADS + "o = relu(f)", "logits", "f is used elsewhere"),
    Case(FUSE_HEADS, "a feature that is an output", HEADS, "logits", "f is used elsewhere", ("f",)),
    Case(FUSE_HEADS, "a normalised map used elsewhere", HEADS + "o = relu(u)", "logits", "u is used elsewhere"),
    Case(FUSE_HEADS, "a scaled map that is an output", HEADS, "logits", "s is used elsewhere", ("s",)),
    Case(FUSE_HEADS, "a Linear that is an output", HEADS, "logits", "k is used elsewhere", ("k",)),
    Case(
        FOLD_LAYER_NORM,
        "an output",
        AFFINE_NORM + "c = conv(u)",
        "v",
        "the normalised map is an output",
        outputs=("u",),
    ),
    Case(FOLD_LAYER_NORM, "its tokens an output", WRITTEN + "p = pointwise_conv(h)", "v", "t is an output", ("t",)),
    Case(
        FOLD_LAYER_NORM,
        "something else takes it",
        AFFINE_NORM + "c = conv(u); r = relu(u)",
        "v",
        "r takes the normalised map",
    ),
    Case(
        FOLD_LAYER_NORM,
        "a mean beside a convolution",
        AFFINE_NORM + "c = conv(u); m = mean(u)",
        "v",
        "m takes the normalised map",
    ),
    *(
        Case(
            FOLD_LAYER_NORM,
            label,
            f"{AFFINE_NORM} c = conv(u, {options})",
            "v",
            "c is not an unpadded 1x1 convolution",
        )
        for label, options in (
            ("three by three", "kernel=3"),
            ("three by three without padding", "kernel=3, padding=0"),
            ("a padded one by one", "padding=1"),
            ("a grouped one by one", "groups=2"),
        )
    ),
    *(
        Case(FOLD_LAYER_NORM, label, source, "v", "h does not write states for a projection alone", outputs)
        for label, source, outputs in (
            ("tokens that are not written", AFFINE_NORM + "t = flatten(u); h = softmax_tokens(t)", ()),
            (
                "tokens that weight what is written",
                AFFINE_NORM + "t = flatten(u); q = flatten(x); h = state_update(q, t); p = pointwise_conv(h)",
                (),
            ),
            (
                "tokens written by themselves",
                AFFINE_NORM + "t = flatten(u); h = state_update(t, t); p = pointwise_conv(h)",
                (),
            ),
            ("states without a projection", WRITTEN + "p = relu(h)", ()),
            ("states for two projections", WRITTEN + "p = pointwise_conv(h); o = pointwise_conv(h)", ()),
            ("states that are an output", WRITTEN + "p = pointwise_conv(h)", ("h",)),
        )
    ),
    Case(
        FOLD_INPUT_SCALE,
        "used twice",
        "s = scale(x); c = conv(s); d = conv(s)",
        "s",
        "the scaled image is used more than once",
    ),
    Case(
        FOLD_INPUT_SCALE,
        "an output",
        "s = scale(x); c = conv(s)",
        "s",
        "the scaled image is used more than once",
        outputs=("s",),
    ),
    Case(
        FOLD_INPUT_SCALE,
        "a shift after it",
        "s = scale(x); m = shift(s); c = conv(m, kernel=3)",
        "s",
        "a shift follows, and the convolution's padding would not be shifted",
    ),
    Case(
        FOLD_INPUT_SCALE,
        "a grouped convolution",
        "s = scale(x); c = conv(s, kernel=3, groups=2)",
        "s",
        "c is not a full convolution",
    ),
    Case(FOLD_INPUT_SCALE, "no convolution", "s = scale(x); r = relu(s)", "s", "r is not a full convolution"),
    Case(
        SPREAD_TOKEN_WEIGHTS,
        "weights that are an output",
        WEIGHTED + "h = state_update(t, w)",
        "p",
        "its weights are not multiplied, or used elsewhere, too",
        outputs=("p",),
    ),
    Case(
        SPREAD_TOKEN_WEIGHTS,
        "weights alone",
        "t = flatten(x); p = softmax_tokens(t); h = state_update(t, p)",
        "p",
        "its weights are not multiplied, or used elsewhere, too",
    ),
    Case(
        SPREAD_TOKEN_WEIGHTS,
        "a product of another use",
        WEIGHTED + "h = state_update(t, w); y = unflatten(w, x)",
        "p",
        "w is not only summed over the tokens",
    ),
    Case(
        SPREAD_TOKEN_WEIGHTS,
        "a square",
        WEIGHTED + "h = state_update(w, w)",
        "p",
        "w is not only summed over the tokens",
    ),
)

ABSENT = (
    Case(FOLD_BATCH_NORM, "a bare convolution", "c = conv(x); r = relu(c)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "a full convolution", "c = conv(x, kernel=3); y = add(x, c)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "a grouped convolution", "c = conv(x, kernel=3, groups=2); y = add(x, c)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "of another map", "r = relu(x); d = conv(r, kernel=3, groups=4); y = add(x, d)"),
    Case(FOLD_DEPTHWISE_RESIDUAL, "under a relu", "d = conv(x, kernel=3, groups=4); r = relu(d); y = add(x, r)"),
    Case(FOLD_RESIDUAL_SCALE, "a full convolution", STEP + "d = conv(y)"),
    Case(FOLD_RESIDUAL_SCALE, "a head beside it", STEP + "d = conv(y, kernel=3, groups=4); m = mean(y)"),
    Case(FOLD_RESIDUAL_SCALE, "a sum that is an output", STEP + "d = conv(y, kernel=3, groups=4)", outputs=("y",)),
    Case(
        FOLD_RESIDUAL_SCALE,
        "one scale alone",
        "c = conv(x); b = scale(c); y = add(x, b); d = conv(y, kernel=3, groups=4)",
    ),
    Case(FOLD_LAYER_SCALE, "of a relu", "c = conv(x); r = relu(c); a = scale(r)"),
    Case(FOLD_LAYER_SCALE, "of the image", "a = scale(x)"),
    Case(FOLD_LAYER_SCALE, "of a depthwise convolution", "d = conv(x, kernel=3, groups=4); a = scale(d)"),
    Case(FOLD_MIXER_SCALE, "of a convolution", "c = conv(x); a = scale(c)"),
    Case(FOLD_MIXER_SCALE, "of what was not read", "t = flatten(x); y = unflatten(t, x); a = scale(y)"),
    Case(FOLD_MIXER_SCALE, "of tokens", "t = flatten(x); a = scale(t)"),
    Case(DROP_STATE_BIAS, "under a sigmoid", "b = shift(x); p = sigmoid(b)"),
    Case(FACTOR_GATE, "two products", "p = multiply(x, x); q = multiply(x, x); g = add(p, q)"),
    Case(FACTOR_GATE, "two scales", "s = scale(x); q = scale(x); g = add(s, q)"),
    Case(FACTOR_GATE, "a product without a scale", "p = multiply(x, x); g = add(p, x)"),
    Case(FUSE_HEADS, "maps", "c = conv(x); s = scale(c); y = add(x, s)"),
    Case(FUSE_HEADS, "residual upon residual", "c = conv(x); y = add(x, c); d = conv(y); z = add(y, d)"),
    Case(FUSE_HEADS, "one Linear", POOLED + "k = linear(f); y = scale(k, size=3)"),
    Case(FOLD_LAYER_NORM, "no affine part", "v = layer_norm(x); c = conv(v)"),
    Case(FOLD_LAYER_NORM, "a scale without a shift", "v = layer_norm(x); s = scale(v); c = conv(s)"),
    Case(FOLD_LAYER_NORM, "a head's", POOLED + "k = linear(f)"),
    Case(FOLD_INPUT_SCALE, "a scale further in", "r = relu(x); s = scale(r); c = conv(s)"),
    Case(FOLD_INPUT_SCALE, "a shift alone", "m = shift(x); c = conv(m)"),
    Case(SPREAD_TOKEN_WEIGHTS, "a softmax of classes", HEADS + "p = softmax_channels(logits)"),
)


@by_case(MATCHES)
def test_it_matches(case: Case) -> None:
    graph, image = case.graph_and_image()
    expected = evaluate(graph, image)
    result = run(case.rewrite, graph)
    assert (result.applied, result.refused) == (1, ())
    assert relative_gap(evaluate(graph, image), expected) < ONE_REWRITE


@by_case(MATCHES)
def test_a_match_alone_does_not_change_the_graph(case: Case) -> None:
    graph, _ = case.graph_and_image()
    nodes = graph.nodes
    roots = [node for node in nodes if node.op == case.rewrite.root_op]
    assert [case.rewrite.match(graph, node) for node in roots] != []
    assert graph.nodes is nodes


@pytest.mark.parametrize("share", [1e-3, 0.0])
def test_a_scale_close_to_zero_stays_beside_its_map(share: float) -> None:
    graph, _ = Case(FOLD_RESIDUAL_SCALE, "", STEP + "d = conv(y, kernel=3, groups=4)").graph_and_image()
    identity, branch = (graph.producer(name) for name in ("k", "b"))
    assert identity is not None
    assert branch is not None
    graph.substitute(identity, identity.with_weights(scale=np.full(CHANNELS, share)))
    graph.substitute(branch, branch.with_weights(scale=np.ones(CHANNELS)))
    reason = "k is close to zero beside b, and the ratio is too large for half precision"
    assert run(FOLD_RESIDUAL_SCALE, graph).refused == (("y", reason),)


@by_case(FAILURES + ABSENT)
def test_without_a_match_the_graph_is_unchanged(case: Case) -> None:
    graph, image = case.graph_and_image()
    nodes, outputs, expected = list(graph.nodes), dict(graph.outputs), evaluate(graph, image)
    result = run(case.rewrite, graph)
    assert relative_gap(evaluate(graph, image), expected) == 0
    assert result == RewriteResult(
        rewrite=case.rewrite.name, applied=0, removed=Counter(), added=Counter(), refused=case.refused
    )
    assert graph.outputs == outputs
    assert_same_nodes(graph.nodes, nodes)


@pytest.mark.parametrize("rewrite", [*REWRITES, SPREAD_TOKEN_WEIGHTS], ids=lambda rewrite: rewrite.name)
def test_every_rewrite_has_cases_of_each_kind(rewrite: Rewrite) -> None:
    for cases in (MATCHES, FAILURES, ABSENT):
        assert rewrite in {case.rewrite for case in cases}


@pytest.mark.parametrize(
    ("rewrite", "source"),
    [
        (FOLD_MIXER_SCALE, MIXER + "o = state_readout(h, t); z = unflatten(o, x); b = scale(z)"),
        (FUSE_HEADS, HEADS + "i = mean(x); j = linear(i); o = linear(i); second = add(j, o)"),
    ],
    ids=["scaled reads of the same states", "sums of Linears"],
)
def test_two_places_in_one_graph_do_not_take_the_same_name(rewrite: Rewrite, source: str) -> None:
    graph, image = Case(rewrite, "twice", source).graph_and_image()
    expected = evaluate(graph, image)
    run(rewrite, graph)
    assert relative_gap(evaluate(graph, image), expected) < ONE_REWRITE


@pytest.mark.parametrize(("tokens", "times"), [(1, 1), (16383, 1), (16384, 128), (16640, 128), (65536, 256)])
def test_many_tokens_are_spread_by_the_power_of_two_next_to_their_root(tokens: int, times: float) -> None:
    assert spread(tokens) == times


def test_weights_are_spread_at_every_block_and_once() -> None:
    graph, _ = reparameterise(lowered(1, "classify", "logits", True))
    blocks = graph.counts()["softmax_tokens"]
    assert run(SPREAD_TOKEN_WEIGHTS, graph) == RewriteResult(
        rewrite=SPREAD_TOKEN_WEIGHTS.name, applied=blocks, removed=Counter(), added=Counter(), refused=()
    )
    assert [node.op for node in graph.nodes if "spread" in node.attributes].count("sum_tokens") == blocks
    assert run(SPREAD_TOKEN_WEIGHTS, graph).applied == 0


@by_case(tuple(case for case in MATCHES if case.rewrite is SPREAD_TOKEN_WEIGHTS))
def test_weights_are_spread_where_there_are_many_tokens(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 15 tokens the weights are multiplied by 4, and the states are equal to the bit."""
    monkeypatch.setattr("evim_deploy.graph.ir.MANY_TOKENS", 15)
    graph, image = case.graph_and_image()
    before = values_of(graph, image)
    run(SPREAD_TOKEN_WEIGHTS, graph)
    after = values_of(graph, image)
    assert torch.equal(after["p"], 4 * before["p"])
    assert all(torch.equal(after[name], before[name]) for name in graph.outputs)
