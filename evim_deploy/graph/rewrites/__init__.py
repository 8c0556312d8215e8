"""The exact rewrites for inference, in the order in which they are applied.

Each holds identically in real arithmetic, on float64 weights. Where a rewrite does not match, it leaves the graph
unchanged and gives the reason. Owns one rewrite a file; imports the graph alone.
"""

from __future__ import annotations

from typing import Any

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites.batch_norm import FOLD_BATCH_NORM
from evim_deploy.graph.rewrites.depthwise_residual import FOLD_DEPTHWISE_RESIDUAL
from evim_deploy.graph.rewrites.gate import FACTOR_GATE
from evim_deploy.graph.rewrites.heads import FUSE_HEADS
from evim_deploy.graph.rewrites.input_scale import FOLD_INPUT_SCALE
from evim_deploy.graph.rewrites.layer_norm import FOLD_LAYER_NORM
from evim_deploy.graph.rewrites.layer_scale import FOLD_LAYER_SCALE
from evim_deploy.graph.rewrites.mixer_scale import FOLD_MIXER_SCALE
from evim_deploy.graph.rewrites.residual_scale import FOLD_RESIDUAL_SCALE
from evim_deploy.graph.rewrites.rewrite import Rewrite, RewriteResult, run
from evim_deploy.graph.rewrites.state_bias import DROP_STATE_BIAS
from evim_deploy.graph.rewrites.token_weights import SPREAD_TOKEN_WEIGHTS

__all__ = ["REWRITES", "SPREAD_TOKEN_WEIGHTS", "Rewrite", "RewriteResult", "reparameterise", "run"]

REWRITES: tuple[Rewrite[Any], ...] = (
    FOLD_BATCH_NORM,  # first: the next two match a bare convolution, without a BatchNorm
    FOLD_DEPTHWISE_RESIDUAL,  # before the layer scale, which would fold the gate and leave the identity
    FOLD_RESIDUAL_SCALE,  # after it, as its convolution must be the sole consumer; before those that fold the gate
    FOLD_LAYER_SCALE,
    DROP_STATE_BIAS,
    FOLD_MIXER_SCALE,
    FACTOR_GATE,
    FUSE_HEADS,
    FOLD_LAYER_NORM,
    FOLD_INPUT_SCALE,
)


def reparameterise(graph: Graph) -> tuple[Graph, list[RewriteResult]]:
    """The rewritten graph and the effect of each rewrite; the argument stays unchanged."""
    rewritten = graph.copy()
    return rewritten, [run(rewrite, rewritten) for rewrite in REWRITES]
