"""Sampling protocols: the paper's, and a robust one for machines with background load."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingProtocol:
    """A row of :data:`PROTOCOLS`.

    Attributes:
        name: Value of ``--protocol``.
        warmup_s: Minimum warm-up before the first sample, seconds.
        seconds: Minimum time of timed predictions of each case, over all rounds.
        rounds: Number of rounds that the timing is divided into.
        min_samples: Minimum number of samples in a round.
        discarded: Warm-up runs at the start of each round that are not recorded.
        interleaved: Whether each round visits all cases of a group in a random order, with a control and a
            calibration workload; otherwise each case is timed to its end, alone.
    """

    name: str
    warmup_s: float
    seconds: float
    rounds: int
    min_samples: int
    discarded: int
    interleaved: bool


SINGLE_SAMPLE_S = 0.3
"""A longer prediction is sampled once in a round, without a warm-up run: caches no longer matter."""

NO_WARMUP_S = 3.0
"""A longer prediction needs no warm-up before the first round."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        SamplingProtocol(
            name="robust", warmup_s=2, seconds=20, rounds=60, min_samples=2, discarded=1, interleaved=True
        ),
        SamplingProtocol(
            name="paper", warmup_s=10, seconds=60, rounds=1, min_samples=1, discarded=0, interleaved=False
        ),
    )
}
"""``paper`` does what the published scripts of SHViT and EfficientViT do, synchronised after every prediction, with
two of their faults corrected: a BatchNorm without a fuse method is folded instead of dropped, and so are the
BatchNorms of models that timm cannot reparameterise."""


def deviations(protocol: SamplingProtocol, default: SamplingProtocol) -> list[str]:
    """Describe the values of a protocol that are lower than those of its default."""
    pairs = (
        ("seconds of timing", protocol.seconds, default.seconds),
        ("seconds of warm-up", protocol.warmup_s, default.warmup_s),
        ("rounds", protocol.rounds, default.rounds),
    )
    return [f"{actual:g} {unit} instead of {usual:g}" for unit, actual, usual in pairs if actual < usual]
