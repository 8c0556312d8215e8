"""How samples are taken: the paper's way, and one that holds on a machine that is not quiet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """A row of :data:`PROTOCOLS`.

    Attributes:
        name: As ``--protocol`` takes it.
        warmup_s: Least time of predictions before the first sample.
        seconds: Least time of timed predictions of a contender, over all rounds.
        rounds: That they are spread over.
        least_samples: In one round.
        lead: Predictions at the beginning of a round that do not count.
        interleaved: Whether a round goes over all contenders of a group in a random order, a control and a
            yardstick among them; else each is timed to its end, alone.
    """

    name: str
    warmup_s: float
    seconds: float
    rounds: int
    least_samples: int
    lead: int
    interleaved: bool


LONG_S = 0.3
"""A prediction that takes longer is timed once in a round, and none goes before it: caches are its own at once."""

WARMS_ITSELF_S = 3.0
"""A prediction that takes longer needs no other before it."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("robust", 2, 20, 60, least_samples=2, lead=1, interleaved=True),
        Protocol("paper", 10, 60, 1, least_samples=1, lead=0, interleaved=False),
    )
}
"""``paper`` is what the published scripts of SHViT and EfficientViT do, synchronised after every prediction,
without two faults of theirs: a BatchNorm that has no method to fuse it is folded instead of dropped, and so are
those of models for which timm has no hook to reparameterise them."""


def deviations(protocol: Protocol, named: Protocol) -> list[str]:
    """In what a protocol asks for less than the one that it is named after."""
    pairs = (
        ("seconds of timing", protocol.seconds, named.seconds),
        ("seconds of warm-up", protocol.warmup_s, named.warmup_s),
        ("rounds", protocol.rounds, named.rounds),
    )
    return [f"{asked:g} {what} instead of {usual:g}" for what, asked, usual in pairs if asked < usual]
