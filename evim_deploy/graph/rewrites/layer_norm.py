"""Fold the affine part of the LayerNorm before the mixer into what takes it.

In the mixer's terms (paper, Equation 14), with u = gain v + bias, v the normalised map, and w = A * B:

    BCdt_proj:  P u  =  (P gain) v + P bias                    (1x1, so no padding sees the bias)
    hz_proj:    W (u w^T)  =  (W gain) (v w^T) + (W bias) s,   s = sum over tokens of w, (N).

Two operations on the (D, L) map become three on the (2D, N) states.

::

    before:  v ── scale ── shift ─┬─ conv                  after:  v ─┬─ conv (with a bias)
                                  └─ flatten ── write ── project      └─ flatten ── write ── project ─┬─ add
                                                 w ─┘                     w ── sum_tokens ── project ─┘
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, norm: Node) -> bool:
    scale = graph.sole_consumer(norm.name)
    shift = graph.sole_consumer(scale.name) if scale is not None and scale.op == "scale" else None
    if scale is None or shift is None or shift.op != "shift":
        return False
    users = graph.consumers(shift.name)
    if all(user.op == "mean" for user in users):
        return False  # a head's; see evim_deploy.graph.rewrites.heads
    if graph.is_output(shift.name):
        raise MatchFailure("the normalised map is an output")
    _check_users(graph, shift.name, users)

    gain, offset = scale.weights["scale"], shift.weights["bias"]
    for user in users:
        if user.op == "conv":
            _fold_conv(graph, user, gain, offset)
        elif user.op == "flatten":
            for write in graph.consumers(user.name):
                _fold_project(graph, write, gain, offset)
    graph.bypass(shift)
    graph.bypass(scale)
    return True


def _check_users(graph: Graph, value: str, users: list[Node]) -> None:
    for user in users:
        if user.op == "conv":
            if user.weights["kernel"].shape[2:] != (1, 1) or user.integer("padding") or user.integer("groups") != 1:
                raise MatchFailure(f"{user.name} is not an unpadded 1x1 convolution")
        elif user.op == "flatten":
            if graph.is_output(user.name):
                raise MatchFailure(f"{user.name} is an output")
            for write in graph.consumers(user.name):
                project = graph.sole_consumer(write.name)
                writes_it = write.op == "state_update" and write.inputs[0] == user.name != write.inputs[1]
                if not writes_it or project is None or project.op != "pointwise_conv":
                    raise MatchFailure(f"{write.name} does not write states for a projection alone")
        elif not (user.op == "unflatten" and user.inputs[0] != value):
            raise MatchFailure(f"{user.name} takes the normalised map")


def _fold_conv(graph: Graph, conv: Node, gain: Array, offset: Array) -> None:
    kernel = conv.weights["kernel"]
    bias = conv.weights.get("bias", 0.0) + kernel[:, :, 0, 0] @ offset
    graph.substitute(conv, conv.with_weights(kernel=kernel * gain[:, None, None], bias=bias))


def _fold_project(graph: Graph, write: Node, gain: Array, offset: Array) -> None:
    (project,) = graph.consumers(write.name)
    kernel = project.weights["kernel"]
    total = Node(op="sum_tokens", inputs=(write.inputs[1],), outputs=(f"{write.name}.sum",))
    bias = Node(
        op="pointwise_conv",
        inputs=(total.name,),
        outputs=(f"{project.name}.bias",),
        weights={"kernel": (kernel @ offset)[:, None]},
    )
    scaled = project.with_weights(kernel=kernel * gain)
    added = f"{project.name}.biased"
    graph.reconnect(project.name, added)
    graph.substitute(project, total, bias, scaled, Node(op="add", inputs=(scaled.name, bias.name), outputs=(added,)))


FOLD_LAYER_NORM = Rewrite("LayerNorm's affine part into BCdt_proj and hz_proj", "layer_norm", _apply)
