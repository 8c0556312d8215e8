"""The paper's three settings (Tables 3 and E): device, batch, threads, precisions and engines of each."""

from __future__ import annotations

from dataclasses import dataclass

from latency.enums import MemoryLayout


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of :data:`SETTINGS`.

    Attributes:
        name: Value of ``--setting``.
        device: ``cpu``, ``cuda`` or ``coreml``.
        batch: Images in one prediction.
        threads: CPU threads; None where the engine decides.
        precisions: Precisions to time, the default of the setting.
        layouts: Memory layouts to time, for the engines that support several.
        engines: Engines to time.
        remedy: Advice for a host that lacks the device.
    """

    name: str
    device: str
    batch: int
    threads: int | None
    precisions: tuple[str, ...]
    layouts: tuple[MemoryLayout, ...]
    engines: tuple[str, ...]
    remedy: str = ""


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            name="cpu",
            device="cpu",
            batch=16,
            threads=1,
            precisions=("fp32",),
            layouts=(MemoryLayout.CHANNELS_FIRST,),
            engines=("torch",),
        ),
        Setting(
            name="gpu",
            device="cuda",
            batch=256,
            threads=None,
            precisions=("fp16", "bf16"),
            layouts=(MemoryLayout.CHANNELS_LAST,),
            engines=("torch", "torchscript", "torch-compile"),
            remedy="run the same command on a machine with an NVIDIA GPU and its driver",
        ),
        Setting(
            name="iphone",
            device="coreml",
            batch=1,
            threads=None,
            precisions=("fp16",),
            layouts=(),
            engines=("coreml",),
            remedy="run the same command on a Mac, or time the model in the demo app on the phone and give the file "
            "that it writes to `evim-deploy report --import`",
        ),
    )
}


def format_threads(threads: int | None) -> str:
    """Format a number of CPU threads: ``1 thread``, ``8 threads``; None is ``all threads``."""
    return "all threads" if threads is None else f"{threads} thread{'s' * (threads != 1)}"
