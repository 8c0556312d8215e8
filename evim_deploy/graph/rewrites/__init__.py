"""The exact rewrites for inference, in the one order in which they are applied.

Each holds identically in real arithmetic, on float64 weights. What a rewrite does not fit it leaves
as it is and says why.
"""

from __future__ import annotations

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

REWRITES: tuple[Rewrite, ...] = (
    FOLD_BATCH_NORM,  # first: the next two look for a convolution, not for one under a BatchNorm
    FOLD_DEPTHWISE_RESIDUAL,  # before the layer scale, which would take the gate and leave the identity
    FOLD_RESIDUAL_SCALE,  # after it, as its convolution has to be the map's only user; before those that fold the gate
    FOLD_LAYER_SCALE,
    DROP_STATE_BIAS,
    FOLD_MIXER_SCALE,
    FACTOR_GATE,
    FUSE_HEADS,
    FOLD_LAYER_NORM,
    FOLD_INPUT_SCALE,
)


def reparameterise(graph: Graph) -> tuple[Graph, list[RewriteResult]]:
    """The rewritten graph, and what each rewrite did; the graph given stays as it is."""
    rewritten = graph.copy()
    return rewritten, [run(rewrite, rewritten) for rewrite in REWRITES]
