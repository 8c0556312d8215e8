"""Draws docs/pictures/*.svg: the effect of each rewrite on the graphs of EfficientViM-M4.

A picture shows the neighbourhood of one match before and after one rewrite, which the code of the exports applies.
This script describes it in Graphviz's language, and Graphviz's ``dot`` (Debian's package graphviz) draws it. Each file
contains the sha256 of its description, so that a test can compare it with the current graphs without Graphviz.

Usage: python docs/pictures.py    (draws all of them, and prints the tables of rewrites.md)
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import torch

from evim_deploy.catalog.variants import IMAGENET_CLASSES, VARIANTS
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import infer_shapes, validate
from evim_deploy.graph.rewrites import REWRITES, Rewrite, RewriteResult, reparameterise
from evim_deploy.graph.rewrites.batch_norm import FOLD_BATCH_NORM
from evim_deploy.graph.rewrites.depthwise_residual import FOLD_DEPTHWISE_RESIDUAL
from evim_deploy.graph.rewrites.gate import FACTOR_GATE
from evim_deploy.graph.rewrites.heads import FUSE_HEADS
from evim_deploy.graph.rewrites.input_scale import FOLD_INPUT_SCALE
from evim_deploy.graph.rewrites.layer_norm import FOLD_LAYER_NORM
from evim_deploy.graph.rewrites.layer_scale import FOLD_LAYER_SCALE
from evim_deploy.graph.rewrites.mixer_scale import FOLD_MIXER_SCALE
from evim_deploy.graph.rewrites.residual_scale import FOLD_RESIDUAL_SCALE
from evim_deploy.graph.rewrites.rewrite import run
from evim_deploy.graph.rewrites.state_bias import DROP_STATE_BIAS
from evim_deploy.networks.efficientvim.lowering import lower
from evim_deploy.networks.efficientvim.model import EfficientViM

FOLDER = Path(__file__).with_name("pictures")
VARIANT = VARIANTS["m4"]
BLOCK = "stages.0.blocks.0."
LAST_BLOCK = "stages.2.blocks.1."  # the last of its stage: the head reads its state


@dataclass(frozen=True)
class Picture:
    """One figure: a rewrite at one match.

    Attributes:
        name: Name of the file, without its suffix.
        rewrite: The rewrite, applied after those before it in their order.
        root: Name of the root operation of the match.
        beside: Names of unchanged neighbours to show.
    """

    name: str
    rewrite: Rewrite[Any]
    root: str
    beside: tuple[str, ...] = ()


PICTURES = (
    Picture("batch-norm", FOLD_BATCH_NORM, "patch_embed.conv.0.norm", ("patch_embed.conv.0.relu",)),
    Picture("depthwise-residual", FOLD_DEPTHWISE_RESIDUAL, f"{BLOCK}residual0", (f"{BLOCK}norm",)),
    Picture("residual-scale", FOLD_RESIDUAL_SCALE, f"{BLOCK}residual3", (f"{BLOCK}ffn.fc2.conv",)),
    Picture("layer-scale", FOLD_LAYER_SCALE, f"{BLOCK}residual3.gate", (f"{BLOCK}residual3.rescaled",)),
    Picture("state-bias", DROP_STATE_BIAS, f"{BLOCK}mixer.A", (f"{BLOCK}mixer.B", f"{BLOCK}mixer.importance")),
    Picture(
        "mixer-scale",
        FOLD_MIXER_SCALE,
        f"{BLOCK}residual1.gate",
        tuple(f"{BLOCK}{name}" for name in ("mixer.y", "mixer.y.map", "residual1.rescaled")),
    ),
    Picture(
        "mixer-scale-last-block",
        FOLD_MIXER_SCALE,
        f"{LAST_BLOCK}residual1.gate",
        (
            "norm.2",
            *(f"{LAST_BLOCK}{name}" for name in ("mixer.out_proj", "mixer.y", "mixer.y.map", "residual1.rescaled")),
        ),
    ),
    Picture("gate", FACTOR_GATE, f"{BLOCK}mixer.mixed", tuple(f"{BLOCK}mixer.{n}" for n in ("g", "silu", "out_proj"))),
    Picture(
        "heads", FUSE_HEADS, "heads.1.sum", tuple(f"norm.{i}{suffix}" for i in range(4) for suffix in ("", ".mean"))
    ),
    Picture(
        "layer-norm",
        FOLD_LAYER_NORM,
        f"{BLOCK}norm",
        tuple(f"{BLOCK}{name}" for name in ("norm", "mixer.u", "mixer.AB", "mixer.h_in", "mixer.g")),
    ),
    Picture("input-scale", FOLD_INPUT_SCALE, "preprocess.std", ("preprocess.mean", "patch_embed.conv.0.relu")),
)

CONVOLUTION, NORM, POINTWISE, ACTIVATION, MIXING, MOVING = KINDS = (
    ("convolution or matrix product with weights", "#cfe2f6", "#2f6ea8"),
    ("normalisation", "#fbe0c4", "#c06a14"),
    ("element by element", "#fdf3c0", "#a88a14"),
    ("activation", "#d9efd3", "#4a8f3c"),
    ("over the tokens", "#e6daf3", "#7a4fa8"),
    ("view, split, concatenation", "#e9ecef", "#7b838a"),
)
"""Description, fill and edge colour of each kind of operation."""

STYLES = {
    **dict.fromkeys(("conv", "pointwise_conv", "linear"), CONVOLUTION),
    **dict.fromkeys(("batch_norm", "layer_norm"), NORM),
    **dict.fromkeys(("scale", "shift", "add", "multiply"), POINTWISE),
    **dict.fromkeys(("relu", "sigmoid", "silu", "softmax_channels"), ACTIVATION),
    **dict.fromkeys(("softmax_tokens", "state_update", "state_readout", "sum_tokens", "mean"), MIXING),
    **dict.fromkeys(("split", "flatten", "unflatten", "concat"), MOVING),
}

GONE = 'style="rounded,filled,dashed", penwidth=1.6, color="#c0182b"'
NEW = "penwidth=2.8"
PLAIN = "penwidth=1"
GRAPH = (
    'bgcolor="white", pad=0.25, nodesep=0.28, ranksep=0.26, splines=spline, compound=true, '
    'fontname="Helvetica", fontsize=15, labeljust="c"'
)
NODE = 'shape=box, style="rounded,filled", fontname="Helvetica", fontsize=12, margin="0.14,0.06", height=0.35'
EDGE = 'color="#5a6169", arrowsize=0.6, penwidth=1.1'


@cache
def original() -> Graph:
    """EfficientViM-M4 as the paper defines it, with random weights, which the pictures do not show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EfficientViM(VARIANT, IMAGENET_CLASSES, distilled=False).eval()
    return lower(model, "classify", "logits", preprocess=True)


def before_and_after(picture: Picture) -> tuple[Graph, Graph]:
    """The whole graph without and with one application of a rewrite."""
    before = original().copy()
    for rewrite in REWRITES[: REWRITES.index(picture.rewrite)]:
        run(rewrite, before)
    after = before.copy()
    root = after.producer(picture.root)
    match = None if root is None else picture.rewrite.match(after, root)
    if match is None:
        raise ValueError(f"{picture.rewrite.name} does not match at {picture.root}")
    picture.rewrite.replace(after, match)
    after.prune()
    validate(after)
    return before, after


def side(graph: Graph, title: str, shown: Iterable[str], marks: Mapping[str, str]) -> Iterator[str]:
    """One half of a figure: the operations of some names, with their inputs and outputs.

    Args:
        graph: The whole graph.
        title: ``before`` or ``after``.
        shown: Names of the operations to show.
        marks: Graphviz attributes of marked operations, by name.
    """
    shapes = infer_shapes(graph, (1, 3, VARIANT.resolution, VARIANT.resolution))
    nodes = [node for node in graph.nodes if node.name in set(shown)]
    inside = {value for node in nodes for value in node.outputs}
    yield f'subgraph "cluster_{title}" {{ label=<<B>{title}</B>>; color="#d5d9dd"; style=rounded; margin=14'
    for node in nodes:
        meaning, fill, edge = STYLES[node.op]
        detail = f"{_short(node.name)}  {'x'.join(map(str, shapes[node.name][1:]))}"
        label = f'<<B>{_title(node)}</B><BR/><FONT POINT-SIZE="9.5" COLOR="#4a5056">{escape(detail)}</FONT>>'
        mark = marks.get(node.name, PLAIN)
        colour = "" if mark == GONE else f', color="{edge}"'
        yield f'"{title}.{node.name}" [label={label}, fillcolor="{fill}"{colour}, {mark}, tooltip="{meaning}"]'
    for value in dict.fromkeys(value for node in nodes for value in node.inputs if value not in inside):
        yield f'"{title}.{value}" [label="{_short(value)}", shape=plain, style="", fontsize=10, fontcolor="#7b838a"]'
    for node in nodes:
        for value in node.inputs:
            source = next((each for each in nodes if value in each.outputs), None)
            yield f'"{title}.{source.name if source else value}" -> "{title}.{node.name}"{_edge_label(source, value)}'
    for node in nodes:
        leaving = [v for v in node.outputs if graph.is_output(v) or any(u not in nodes for u in graph.consumers(v))]
        for value in leaving:
            yield f'"{title}.{value}.out" [label="", shape=point, width=0.05, color="#7b838a"]'
            yield f'"{title}.{node.name}" -> "{title}.{value}.out"{_edge_label(node, value)}'
    yield "}"


def _edge_label(source: Node | None, value: str) -> str:
    """The name of an output of an operation with several."""
    if source is None or len(source.outputs) == 1:
        return ""
    return f' [label=" {value.rpartition(".")[2]}", fontname="Helvetica", fontsize=10, fontcolor="#4a5056"]'


def _title(node: Node) -> str:
    if node.op != "conv":
        return node.op.replace("_", " ")
    side = node.weights["kernel"].shape[-1]
    stride = f", stride {node.integer('stride')}" if node.integer("stride") > 1 else ""
    return f"{'depthwise' if node.is_depthwise else 'conv'} {side}x{side}{stride}"


def _short(name: str) -> str:
    """A name without its block's path."""
    return name.removeprefix(BLOCK).removeprefix(LAST_BLOCK)


def figure(halves: Iterable[str]) -> str:
    return "\n".join(["digraph {", f"graph [{GRAPH}]", f"node [{NODE}]", f"edge [{EDGE}]", *halves, "}"]) + "\n"


def describe(picture: Picture) -> str:
    """A figure in Graphviz's language."""
    before, after = before_and_after(picture)
    old, new = ({node.name: node for node in graph.nodes} for graph in (before, after))
    touched = {name for name in old.keys() | new.keys() if not _same(old.get(name), new.get(name))}
    return beside(before, after, touched | set(picture.beside))


def describe_block() -> str:
    """One block before and after all rewrites, in Graphviz's language."""
    before = original()
    after, _ = reparameterise(before)
    return beside(before, after, {n.name for n in (*before.nodes, *after.nodes) if n.name.startswith(BLOCK)})


def beside(before: Graph, after: Graph, shown: set[str]) -> str:
    """The operations of some names before and after; removed, new and changed operations are marked."""
    old, new = ({node.name: node for node in graph.nodes} for graph in (before, after))
    removed = {name: GONE for name, node in old.items() if name not in new or new[name].op != node.op}
    added = {name: NEW for name, node in new.items() if not _same(old.get(name), node)}
    return figure([*side(before, "before", shown, removed), *side(after, "after", shown, added)])


def _same(old: Node | None, new: Node | None) -> bool:
    """Whether an operation has the same op, attributes and weights; its inputs may differ."""
    if old is None or new is None or (old.op, old.attributes) != (new.op, new.attributes):
        return False
    return old.weights.keys() == new.weights.keys() and all(old.weights[key] is new.weights[key] for key in old.weights)


def describe_legend() -> str:
    """The legend of colours and edges, in two rows."""
    boxes = [(meaning, f'fillcolor="{fill}", color="{edge}", {PLAIN}') for meaning, fill, edge in KINDS]
    boxes += [
        ("is removed", f'fillcolor="white", {GONE}'),
        ("is new, or has new weights", f'fillcolor="white", color="#2b3036", {NEW}'),
    ]
    half = len(boxes) // 2
    above = [
        f'"{upper}" -> "{lower}" [style=invis]' for (upper, _), (lower, _) in zip(boxes, boxes[half:], strict=False)
    ]
    return figure([f'"{meaning}" [{style}]' for meaning, style in boxes] + above)


def describe_all() -> dict[str, str]:
    """Every figure in Graphviz's language, by the name of its file."""
    figures = {picture.name: describe(picture) for picture in PICTURES}
    return {"legend": describe_legend(), "block": describe_block(), **figures}


def digest(description: str) -> str:
    return hashlib.sha256(description.encode()).hexdigest()


def stamp(description: str) -> str:
    """The line of an SVG file with the digest of its description."""
    return f"<!-- drawn by docs/pictures.py from {digest(description)} -->\n"


def tables() -> dict[str, str]:
    """The tables of rewrites.md, in Markdown: the effect of each rewrite on M4, and its operations before and after."""
    before = original()
    after, results = reparameterise(before)
    rows = [f"| {_rewrite_row(result)} |" for result in results]
    rewrites = ["| rewrite | places | operations removed | added |", "|---|---|---|---|", *rows]
    counts = before.counts(), after.counts()
    names = sorted(counts[0].keys() | counts[1].keys(), key=lambda name: (-counts[0][name], name))
    operations = ["| operation | before | after |", "|---|---|---|"]
    operations += [f"| {name.replace('_', ' ')} | {counts[0][name]} | {counts[1][name]} |" for name in names]
    operations += [f"| **all** | **{counts[0].total()}** | **{counts[1].total()}** |"]
    return {"rewrites": "\n".join(rewrites), "operations": "\n".join(operations)}


def _rewrite_row(result: RewriteResult) -> str:
    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{n} {op.replace('_', ' ')}" for op, n in sorted(counts.items())) or "none"

    return " | ".join((result.rewrite, str(result.applied), listed(result.removed), listed(result.added)))


def main() -> None:
    if shutil.which("dot") is None:
        sys.exit("Graphviz's dot is not installed (Debian: apt-get install graphviz).")
    for name, description in describe_all().items():
        drawn = subprocess.run(["dot", "-Tsvg"], input=description, capture_output=True, text=True, check=True).stdout
        (FOLDER / f"{name}.svg").write_text(stamp(description) + drawn[drawn.index("<svg") :], "utf-8")
    sys.stdout.write("\n\n".join(tables().values()) + "\n")


if __name__ == "__main__":
    main()
