"""The paper's three settings: what is timed how, and on what (Tables 3 and E)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A row of :data:`SETTINGS`.

    Attributes:
        name: As ``--setting`` takes it.
        device: That computes.
        batch: Images in one prediction.
        threads: Of the processor; None where the engine decides.
        precisions: That it is timed in.
        layouts: Of images and weights in memory, for engines that can choose.
        engines: That it is timed in.
        remedy: Where the device can be had.
    """

    name: str
    device: str
    batch: int
    threads: int | None
    precisions: tuple[str, ...]
    layouts: tuple[str, ...]
    engines: tuple[str, ...]
    remedy: str = ""


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("cpu", "cpu", 16, 1, ("fp32",), ("channels-first",), ("torch",)),
        Setting(
            "gpu",
            "cuda",
            256,
            None,
            ("fp16", "bf16"),
            ("channels-last",),
            ("torch", "torchscript", "torch-compile"),
            "run the same command on a machine with an NVIDIA GPU and its driver",
        ),
        Setting(
            "iphone",
            "coreml",
            1,
            None,
            ("fp16",),
            (),
            ("coreml",),
            "run the same command on a Mac, or time the model in the demo app on the phone and give the file that it "
            "writes to `evim-deploy report --import`",
        ),
    )
}


def thread_words(threads: int | None) -> str:
    """Of the processor: ``1 thread``, ``8 threads``; without a number as many as it has."""
    return "all threads" if threads is None else f"{threads} thread{'s' * (threads != 1)}"
