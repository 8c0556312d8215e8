"""The paper's peers that timm has: timm's name, the paper's name and the image size of each."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from evim_deploy.common.errors import NotInstalled, UsageProblem


@dataclass(frozen=True)
class Peer:
    """A timm network.

    Attributes:
        timm: Name in timm.
        paper: Row of the paper's tables; None for a network that they do not list.
        resolution: Native side of its images, pixels.
    """

    timm: str
    paper: str | None
    resolution: int

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.paper or self.timm


TABLE_3 = (
    Peer("mobilevitv2_050", "MobileViTV2 0.5", 256),
    Peer("mobileone_s0", "MobileOne-S0", 224),
    Peer("shvit_s1", "SHViT-S1", 224),
    Peer("mobilenetv3_large_075", "MobileNetV3-L 0.75", 224),
    Peer("efficientvit_m3", "EfficientViT-M3", 224),
    Peer("efficientformerv2_s0", "EfficientFormerV2-S0", 224),
    Peer("efficientvit_m4", "EfficientViT-M4", 224),
    Peer("mobilenetv3_large_100", "MobileNetV3-L 1.0", 224),
    Peer("shvit_s2", "SHViT-S2", 224),
    Peer("mobilevitv2_075", "MobileViTV2 0.75", 256),
    Peer("fastvit_t8", "FastViT-T8", 256),
    Peer("convnextv2_atto", "ConvNeXtV2-A", 224),
    Peer("efficientvit_m5", "EfficientViT-M5", 224),
    Peer("mobileone_s2", "MobileOne-S2", 224),
    Peer("shvit_s3", "SHViT-S3", 224),
    Peer("efficientformerv2_s1", "EfficientFormerV2-S1", 224),
    Peer("convnextv2_femto", "ConvNeXtV2-F", 224),
    Peer("mobilevitv2_100", "MobileViTV2 1.0", 256),
    Peer("mobileone_s3", "MobileOne-S3", 224),
    Peer("fastvit_t12", "FastViT-T12", 256),
    Peer("mobileone_s4", "MobileOne-S4", 224),
    Peer("shvit_s4", "SHViT-S4", 256),
    Peer("mobilevitv2_125", "MobileViTV2 1.25", 256),
)
"""Peers of the paper's Table 3, in its order."""

TABLE_E = tuple(peer for peer in TABLE_3 if peer.timm in ("shvit_s4", "fastvit_t12", "mobileone_s4", "mobilevitv2_100"))
"""Peers of the paper's Table E."""

TABLES = {"table-e": TABLE_E, "table-3": TABLE_3}

MISSING = {
    "EMO": "timm does not have it",
    "EdgeViT": "timm does not have it",
    "EfficientMod": "timm does not have it",
    "MobileFormer": "timm does not have it",
}
"""Families of the paper's tables that timm lacks, with the reason; an exported file can be timed by ``--artifact``."""


def find_peers(text: str) -> tuple[Peer, ...]:
    """Find peers by name: a table (``table-e``, ``table-3``), or one network by timm's or the paper's name.

    Names are case-insensitive. A timm network that the paper does not list is a valid peer.

    Raises:
        UsageProblem: The network is unknown, or timm does not have it.
        NotInstalled: timm is not installed.
    """
    if importlib.util.find_spec("timm") is None:
        raise NotInstalled("Peers need timm, which is not installed.", 'pip install "evim-deploy[bench]"')
    key = text.strip().lower()
    if key in TABLES:
        return TABLES[key]
    for peer in TABLE_3:
        if key in (peer.timm, peer.name.lower()):
            return (peer,)
    for family, reason in MISSING.items():
        if key.startswith(family.lower()):
            raise UsageProblem(f"{text} cannot be timed here: {reason}.", "Give an export of it with --artifact.")
    return (_timm_peer(key, text),)


def _timm_peer(name: str, text: str) -> Peer:
    import timm

    if not timm.is_model(name):
        raise UsageProblem(
            f"Unknown peer {text!r}.",
            f"Use {', '.join(TABLES)}, the paper's name such as {TABLE_E[0].name}, or one of timm.list_models().",
        )
    config = timm.get_pretrained_cfg(name)
    return Peer(name, None, int(config.input_size[-1]))
