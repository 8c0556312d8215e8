"""Synthetic results files from a seed, without a clock, so that tests can compare every figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from latency.results import (
    Attempt,
    Case,
    CaseSubject,
    Check,
    ColdStart,
    Host,
    Memory,
    ProtocolRecord,
    Reading,
    Results,
    Round,
    Share,
)

CREATED = datetime(2026, 9, 24, 12, 0, tzinfo=UTC)
SERVER = Host(
    system="Linux 6.1.0",
    machine="a virtual machine",
    processor="Intel Xeon Platinum 8481C",
    cores=2,
    memory_bytes=24 << 30,
    packages={"torch": "2.7.1", "onnxruntime": "1.22.0"},
)
PHONE = Host(system="iOS 18.1", machine="iPhone 16", processor="Apple A18", cores=6, memory_bytes=8 << 30)

TABLE_E = (
    ("EfficientViM-M4", 256, 0.0362),
    ("SHViT-S4", 256, 0.0313),
    ("FastViT-T12", 256, 0.0904),
    ("MobileOne-S4", 224, 0.0365),
    ("MobileViTV2 1.0", 256, 0.1417),
)
"""Name, native side in pixels, and seconds per image on the synthetic machine."""

ROUNDS, SAMPLES = 20, 5
_CLASSES = ("convolution 1x1", "convolution depthwise", "matrix product", "pointwise", "copies, reshapes and layout")
EQUAL = Check(status="equal", against="PyTorch, as published", error=2e-6, tolerance=1e-4)


def make_case(name: str = "EfficientViM-M4", seconds: float | None = 0.0362, **changes: Any) -> Case:
    """A case with the given seconds per image and 2 % of noise; without samples if ``seconds`` is None.

    The defaults are the paper's CPU setting. ``changes`` are fields of the case and ``side`` (image side in pixels),
    ``subject`` (fields of the subject), ``seed`` (of the noise), ``rounds`` and ``samples`` (their numbers) and
    ``outlier`` (makes a sample in the middle ten times as long).
    """
    side = changes.pop("side", 256)
    rng = np.random.default_rng(changes.pop("seed", sum(map(ord, name)) + side))
    rounds, samples, outlier = (
        changes.pop("rounds", ROUNDS),
        changes.pop("samples", SAMPLES),
        changes.pop("outlier", False),
    )
    kind = "model" if name.startswith("EfficientViM") else "peer"
    subject = {
        "kind": kind,
        "name": name,
        "source": name.lower(),
        "weights": "random:0, untrained",
        "form": "BatchNorm folded",
        "parameters": 19_600_000,
        "paper": name,
        **changes.pop("subject", {}),
    }
    facts: dict[str, Any] = {
        "engine": "torch",
        "engine_version": "2.7.1",
        "mode": "channels-first",
        "setting": "cpu",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "height": side,
        "width": side,
        "batch": 16,
        "outcome": "measured" if seconds else "not run on this host",
        "check": EQUAL if seconds else None,
        "warmup_s": 2.0 if seconds else 0,
    } | changes
    facts.setdefault("batch_asked", facts["batch"])
    threads = f"{facts['threads']} threads" if facts["threads"] else "all threads"
    size = f"{facts['height']}x{facts['width']}"
    label = "own size" if facts["setting"] else size
    facts.setdefault("group", f"{facts['device']}, {label}, batch {facts['batch_asked']}, {threads}")
    parts = (name, facts["engine"], facts["device"], facts["precision"], facts["mode"], threads, size)
    facts.setdefault("id", ", ".join([*filter(None, parts), f"batch {facts['batch_asked']}"]))
    if seconds:
        taken = seconds * facts["batch"] * np.exp(0.02 * rng.standard_normal((rounds, samples)))
        if outlier:
            taken[rounds // 2, samples // 2] *= 10
        facts["rounds"] = [
            Round(index=index, started_s=10.0 * index, samples_s=[float(f"{s:.7g}") for s in found])
            for index, found in enumerate(taken)
        ]
    return Case(subject=CaseSubject(**subject), **facts)


def make_results(cases: Iterable[Case], host: Host = SERVER, **changes: Any) -> Results:
    """Results of a complete run of these cases on a quiet machine."""
    facts: dict[str, Any] = {
        "schema": "evim-deploy-latency",
        "schema_version": 1,
        "tool": "evim-deploy 0.2.0",
        "created": CREATED,
        "command": "evim-deploy bench m4 --peers table-e",
        "complete": True,
        "host": host,
        "protocol": ProtocolRecord(name="robust", seconds=20, warmup_s=2, rounds=ROUNDS, seed=0),
        "readings": [_reading(place) for place in range(12)]
        if host is SERVER
        else [_phone_reading(p) for p in range(4)],
        "contenders": list(cases),
    } | changes
    return Results(**facts)


def table_e(**changes: Any) -> list[Case]:
    """The paper's Table E on a CPU, with a control and a calibration workload."""
    start, memory = (
        ColdStart(load_s=0.21, first_prediction_s=0.74),
        Memory(peak_bytes=612 << 20, before_bytes=240 << 20, of="process"),
    )
    found = [
        make_case(name, seconds, side=side, cold_start=start, memory=memory, outlier=name == "SHViT-S4", **changes)
        for name, side, seconds in TABLE_E
    ]
    group = found[0].group
    calibration = {"kind": "yardstick", "name": "matrix product 1024", "weights": "none", "paper": None}
    return [
        *found,
        make_case(id="control", role="control", group=group, seed=7, **changes),
        make_case("yardstick", 0.011, id="yardstick", role="yardstick", group=group, batch=1, subject=calibration),
    ]


def sweep(sides: Sequence[int] = (224, 512, 1024, 2048, 4096), **changes: Any) -> list[Case]:
    """A sweep over resolutions, with smaller batches from 1024 on; the peer runs out of memory at the largest."""
    found = []
    for side in sides:
        pixels = (side / 256) ** 2
        batch = 16 if side < 1024 else 4
        for name, seconds, power in (("EfficientViM-M4", 0.0362, 1.0), ("SHViT-S4", 0.0313, 1.17)):
            if side == max(sides) and name != "EfficientViM-M4":
                tried = [Attempt(batch=2**n, outcome="out of memory", limit_bytes=20 << 30) for n in range(4, -1, -1)]
                why = "one image needs more than the 20.4 GiB that the process may use"
                found.append(
                    _in_sweep(name, None, side, outcome="out of memory", reason=why, attempts=tried, **changes)
                )
            else:
                found.append(_in_sweep(name, seconds * pixels**power, side, batch=batch, **changes))
    return found


def _in_sweep(name: str, seconds: float | None, side: int, **changes: Any) -> Case:
    return make_case(name, seconds, side=side, **{"setting": None, "batch": 16, "batch_asked": 16, **changes})


def threads(counts: Sequence[int] = (1, 2)) -> list[Case]:
    """A sweep over numbers of threads at 224 pixels."""
    return [
        make_case(name, seconds / count**0.8, side=224, threads=count, setting=None, batch=8)
        for count in counts
        for name, seconds in (("EfficientViM-M4", 0.03), ("SHViT-S4", 0.024))
    ]


def batches(sizes: Sequence[int] = (1, 4, 8)) -> list[Case]:
    """A sweep over batches at 192 pixels."""
    return [
        make_case(name, seconds * batch**-0.1, side=192, batch=batch, setting=None)
        for batch in sizes
        for name, seconds in (("EfficientViM-M4", 0.03), ("SHViT-S4", 0.024))
    ]


def profiled(name: str, parts: Sequence[float], **changes: Any) -> Case:
    """A case with a breakdown: seconds of each class in one prediction."""
    shares = [
        Share(operation=f"aten::{number}", operation_class=class_, seconds=seconds, calls=number + 1)
        for number, (class_, seconds) in enumerate(zip(_CLASSES, parts, strict=True))
    ]
    return make_case(name, sum(parts) / 16, breakdown=shares, **changes)


def mixers() -> list[Case]:
    """The mixer layer with one head and with several."""
    common: dict[str, Any] = {"group": "cpu, 224x224, batch 16, 1 threads", "setting": None, "side": 224}
    single = {"kind": "mixer", "name": "HSM-SSD single-head", "source": "single-head", "paper": None}
    multi = {"kind": "mixer", "name": "HSM-SSD multi-head", "source": "multi-head", "paper": None}
    return [
        profiled("HSM-SSD single-head", (0.010, 0.004, 0.006, 0.003, 0.001), subject=single, **common),
        profiled("HSM-SSD multi-head", (0.010, 0.004, 0.006, 0.003, 0.008), subject=multi, **common),
    ]


def absent() -> list[Case]:
    """Cases on the paper's GPU and iPhone, which this host does not have."""
    gpu = "a CUDA device is missing; run the same command on a machine with an NVIDIA GPU and its driver"
    phone = "coreml predicts on macOS only; time the model in the demo app and give its file to `report --import`"
    return [
        *(_absent(name, "gpu", "cuda", 256, gpu) for name in ("EfficientViM-M4", "SHViT-S4")),
        _absent("EfficientViM-M4", "iphone", "coreml", 1, phone),
    ]


def _absent(name: str, setting: str, device: str, batch: int, reason: str) -> Case:
    engine = "coreml" if device == "coreml" else "torch"
    facts = {"engine": engine, "engine_version": "", "mode": None, "precision": "fp16", "threads": None}
    return make_case(name, None, setting=setting, device=device, batch=batch, reason=reason, **facts)


def run(**changes: Any) -> Results:
    """Results of all cases on a host without a GPU."""
    models = [
        profiled("EfficientViM-M4", (0.21, 0.10, 0.12, 0.09, 0.06), setting=None, engine="onnxruntime", mode=None),
        profiled("SHViT-S4", (0.24, 0.06, 0.08, 0.08, 0.05), setting=None, engine="onnxruntime", mode=None),
    ]
    return make_results(
        [*table_e(), *models, *sweep(), *threads(), *batches(), *mixers(), *absent()],
        **changes,
    )


def phone(**changes: Any) -> Results:
    """The results of the demo app on an iPhone."""
    core_ml: dict[str, Any] = {
        "engine": "coreml",
        "engine_version": "",
        "mode": "cpuAndNeuralEngine",
        "precision": "fp16",
        "threads": None,
        "setting": "iphone",
        "device": "coreml",
        "batch": 1,
        "group": "coreml, own size, batch 1, all threads",
    }
    models = (("EfficientViM-M4", 0.00104), ("SHViT-S4", 0.00093))
    found = [make_case(name, seconds, samples=100, **core_ml) for name, seconds in models]
    return make_results(found, PHONE, tool="EvimDemo 1.0", command=None, **changes)


def _reading(place: int) -> Reading:
    phase = "before" if place == 0 else "after" if place == 11 else "during"
    return Reading(
        at_s=18.0 * place,
        phase=phase,
        load_1m=1.1,
        steal_share=0.004 + 0.001 * (place % 3),
        others_share=0.02,
        frequency_mhz=2700.0,
        temperature_c=None,
        memory_available_bytes=21 << 30,
    )


def _phone_reading(place: int) -> Reading:
    phase = "before" if place == 0 else "after" if place == 3 else "during"
    return Reading(at_s=60.0 * place, phase=phase, thermal_state="nominal", low_power_mode=False, battery_share=0.8)
