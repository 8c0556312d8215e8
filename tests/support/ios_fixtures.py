"""Fixture files for the tests of EvimCore: cases with the results of Python that Swift must reproduce.

``python tests/support/ios_fixtures.py`` rewrites them; tests/ios/test_ios_fixtures.py fails if they are out of date.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from latency_files import PHONE, make_case, make_results
from networks import random_tiny

from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.manifest import ManifestDocument, json_schema, labels_sha256
from evim_deploy.artifact.parity import Parity, Tolerance
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.variants import MODELS
from evim_deploy.common.json_documents import dump_json
from evim_deploy.common.numerics import softmax
from evim_deploy.images.preprocessing import PAPER, STD, CropMode, Preprocessing, border_colour, place
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.golden import METADATA_KEY, write_golden
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.outputs.comparable import comparable
from evim_deploy.proof.outputs.differences import measure, pair_outputs
from latency.enums import CaseRole, Outcome
from latency.judgement import judge
from latency.protocol import PROTOCOLS
from latency.results import (
    Attempt,
    Case,
    CaseSubject,
    Check,
    ColdStart,
    Memory,
    ProtocolRecord,
    Reading,
    Results,
    Round,
    Share,
    to_json,
)
from latency.statistics import slowdown, summarise, trimmed_mean

FOLDER = Path(__file__).parents[2] / "ios-demo" / "EvimKit" / "Tests" / "EvimCoreTests" / "Fixtures"
GOLDEN = "golden.safetensors"

_SIDE, _CLASSES = 32, 10
_ARTIFACT = "efficientvim_m1_UNTRAINED_random1_32x32_fp16.mlpackage"
_DIGEST = "5f" * 32
_LABELS = (*(f"class {index}" for index in range(_CLASSES - 2)), 'a "quoted" one', "Zwölf Äpfel")
_TARGET = Target(
    format="coreml",
    precision="fp16",
    height=_SIDE,
    width=_SIDE,
    batch=1,
    task="classify",
    output="probabilities",
    preprocess=True,
    labels=_LABELS,
)
_PHONE_MODES = ("all", "cpuOnly")


def documents() -> dict[str, Any]:
    """The JSON fixtures by file name; the golden file must exist."""
    return {
        "geometry.json": geometry(),
        "classification.json": classification(),
        "manifest.json": manifest(),
        "manifest.schema.json": json_schema(),
        "labels.json": list(_LABELS),
        "golden.json": comparisons(FOLDER / GOLDEN),
        "statistics.json": statistics(),
        "modelbench.json": model_bench(),
        "judgement.json": judgements(),
        "results.json": json.loads(to_json(full_results())),
    }


def write_all() -> None:
    """Write all fixtures into their folder."""
    write_golden_file(FOLDER / GOLDEN)
    for name, document in documents().items():
        (FOLDER / name).write_text(dump_json(document), "utf-8")


def geometry() -> list[dict[str, Any]]:
    """Crops of images of many shapes, width before height."""
    images = [(256, 256), (640, 427), (427, 640), (150, 90), (1, 1), (4032, 3024), (333, 517), (219, 1001), (40, 1000)]
    sizes = [(256, 256), (224, 224), (192, 320), (45, 33)]
    others = [
        Preprocessing(mean=(0.5, 0.25, 0.1), std=STD, crop_fraction=fraction, interpolation="bilinear", crop_mode=mode)
        for mode in CropMode
        for fraction in (0.9, 1.15)
    ]
    usual = [_crop(image, size, PAPER) for image in images for size in sizes]
    return usual + [_crop(image, size, how) for how in others for image in images[1:4] for size in sizes[1:]]


def _crop(image: tuple[int, int], size: tuple[int, int], how: Preprocessing) -> dict[str, Any]:
    placed = place(image[::-1], size[::-1], how)
    fill = border_colour(how) if how.crop_mode == "border" else (0, 0, 0)
    return {
        "image": list(image),
        "to": list(size),
        "preprocessing": asdict(how),
        "fill": list(fill),
        "resized": list(placed.resized[::-1]),
        "left": placed.left,
        "top": placed.top,
    }


def classification() -> list[dict[str, Any]]:
    """Logits, their softmax, and the five most likely classes; ties are in the order of classes."""
    rng = np.random.default_rng(0)
    cases = [
        rng.normal(0, 3, 20),
        np.array([1000.0, 1000.5, -1000.0]),
        np.zeros(7),
        np.array([1.0, 2.0, 2.0, 1.0, 2.0, -3.0]),
        rng.normal(0, 30, 1000),
    ]
    found = []
    for case in cases:
        logits = case.astype(np.float32)
        probabilities = softmax(logits[None])[0]
        top = np.argsort(-probabilities, kind="stable")[:5]
        found.append({"logits": logits.tolist(), "softmax": probabilities.tolist(), "top": top.tolist()})
    return found


def facts() -> ArtifactInfo:
    """Information on the artifact of a small random network."""
    inputs = (TensorSpec(name="image", shape=(1, 3, _SIDE, _SIDE), dtype="image", layout="RGB", range=(0.0, 255.0)),)
    outputs = (
        TensorSpec(name="classLabel", shape=(), dtype="string", layout="scalar", range=None),
        TensorSpec(
            name="classLabel_probs",
            shape=(_CLASSES,),
            dtype="dictionary",
            layout="label: probability",
            range=(0.0, 1.0),
        ),
    )
    return ArtifactInfo(
        model=MODELS["efficientvim_m1"],
        target=_TARGET,
        weights=Weights("random:1", False, "9a" * 32, "The hub cannot be reached."),
        preprocessing=PAPER,
        signature=Signature(inputs, outputs),
        structure=Structure.of(Counter(conv=3, relu=2)),
        parity=Parity.not_run("a fixture"),
        rewrites=(),
        tools={"coremltools": "9.0"},
    )


def manifest() -> dict[str, Any]:
    """The manifest of the artifact."""
    document = {
        "artifact": _ARTIFACT,
        "size_bytes": 1234567,
        "sha256": _DIGEST,
        **ManifestDocument.of(facts()).to_dict(),
    }
    assert document["labels_sha256"] == labels_sha256(_LABELS)
    return document


def prover() -> ParityChecker:
    """A parity checker of the small random network."""
    told = facts()
    return ParityChecker(
        GraphReference(model=random_tiny(1, _CLASSES, resolution=_SIDE).float().eval(), weights=told.weights), _SIDE
    )


def write_golden_file(path: Path) -> None:
    """Write the golden file of the small random network."""
    write_golden(facts(), prover(), artifact=_ARTIFACT, digest=_DIGEST, path=path)


def comparisons(golden: Path) -> list[dict[str, Any]]:
    """Outputs of a device, and the results of their comparison with the golden file."""
    from safetensors import safe_open

    with safe_open(golden, "np") as file:
        document = json.loads(file.metadata()[METADATA_KEY])
        expected, control = file.get_tensor("expected.probabilities"), file.get_tensor("control.probabilities")
    rng = np.random.default_rng(3)
    noise = expected * np.exp(rng.normal(0, 0.001, expected.shape)).astype(np.float32)
    one_wrong = expected.copy()
    one_wrong[5, 2] *= 4
    broken = expected.copy()
    broken[1, 7] = np.nan
    allowed, least = Tolerance(**document["tolerance"], distribution=""), document["least_probability"]
    found = []
    for name, outputs in (
        ("equal", expected),
        ("rounded", noise),
        ("the control", control),
        ("one class of one image", one_wrong),
        ("not a number", broken),
        ("nothing but zeros", np.zeros_like(expected)),
    ):
        wanted, given = (
            comparable({"probabilities": each.astype(np.float64)}, _TARGET, least) for each in (expected, outputs)
        )
        measures = measure(pair_outputs(document["cases"], wanted, given), classes=True)
        found.append(
            {
                "name": name,
                "outputs": [[None if np.isnan(v) else float(v) for v in row] for row in outputs],
                "status": "pass" if allowed.allows(measures) else "fail",
                "max_abs": measures.max_abs if np.isfinite(measures.max_abs) else None,
                "mean_abs": measures.mean_abs if np.isfinite(measures.mean_abs) else None,
                "top1": measures.top1,
                "worst_case": measures.worst.input,
                "worst_output": measures.worst.output,
            }
        )
    return found


def statistics() -> list[dict[str, Any]]:
    """Samples, seconds, and their statistics."""
    rng = np.random.default_rng(1)
    drifting = 0.001 * np.linspace(1, 1.5, 60) * np.exp(0.02 * rng.standard_normal(60))
    cases = [
        [0.00125],
        [0.002, 0.001],
        [0.001] * 12,
        rng.lognormal(-6.8, 0.05, 50).tolist(),
        [*rng.lognormal(-6.8, 0.02, 30).tolist(), 0.02, 0.5],
        rng.lognormal(-6.8, 0.3, 101).tolist(),
        drifting.tolist(),
        drifting[:24].tolist(),
    ]
    return [
        {
            "samples": samples,
            "summary": {**asdict(summarise(samples)), "outliers": list(summarise(samples).outliers)},
            "trimmed": {"dropped": 10, "mean": trimmed_mean([samples], 10)},
            "slowdown": slowdown(samples),
        }
        for samples in cases
    ]


def model_bench() -> list[dict[str, Any]]:
    """Rounds of samples, seconds, and the mean that Apple's ModelBench computes from them."""
    rng = np.random.default_rng(2)
    cases = [rng.lognormal(-6.8, 0.1, (20, 50)).tolist(), rng.lognormal(-6.8, 0.1, (3, 20)).tolist(), [[0.001]]]
    return [{"rounds": rounds, "dropped": 10, "mean": trimmed_mean(rounds, 10)} for rounds in cases]


def _on_the_phone(mode: str, **changes: Any) -> Case:
    facts_: dict[str, Any] = {
        "engine": "coreml",
        "engine_version": "iOS 18.1",
        "mode": mode,
        "precision": "fp16",
        "threads": None,
        "setting": "iphone",
        "device": "coreml",
        "batch": 1,
        "group": "coreml, own size, batch 1",
        "seed": sum(map(ord, mode)),
        "rounds": 6,
        "samples": 8,
    }
    return make_case("EfficientViM-M4", changes.pop("seconds", 0.00104), **{**facts_, **changes})


def _phone_results(cases: list[Case], readings: list[Reading] | None = None) -> Results:
    protocol = ProtocolRecord(name="modelbench", seconds=0, warmup_s=0, rounds=6, seed=0)
    quiet = [Reading(at_s=s, phase="during", thermal_state="nominal", low_power_mode=False) for s in (0.0, 30.0)]
    facts_ = {"tool": "EvimDemo 0.1.0", "command": None, "protocol": protocol, "readings": readings or quiet}
    return make_results(cases, PHONE, **facts_)


def _slower(each: Case, factor: float) -> Case:
    """Copy a case with its second half of rounds slower by a factor."""
    rounds = [
        Round(
            index=r.index,
            started_s=r.started_s,
            samples_s=[s * (factor if r.index >= len(each.rounds) // 2 else 1) for s in r.samples_s],
        )
        for r in each.rounds
    ]
    return each.model_copy(update={"rounds": rounds})


def judgements() -> list[dict[str, Any]]:
    """Results files of a phone, and the validity of each figure in them."""
    quiet = _on_the_phone("all")
    control = quiet.model_copy(update={"id": f"{quiet.id}, control", "role": CaseRole.CONTROL})
    strayed = control.model_copy(
        update={"rounds": [r.model_copy(update={"samples_s": [1.07 * s for s in r.samples_s]}) for r in control.rounds]}
    )
    different = Check(status="different", against="PyTorch fp32, golden", error=0.4, tolerance=0.05)
    unknown = Check(status="not checked", against="there is no golden file beside the model")
    hot = [
        Reading(at_s=0, phase="before", thermal_state="fair", low_power_mode=False, battery_share=0.5),
        Reading(at_s=40, phase="during", thermal_state="serious", low_power_mode=True),
    ]
    cool = [Reading(at_s=s, phase="during", thermal_state="nominal", low_power_mode=False) for s in (50.0, 70.0)]
    later = [r.model_copy(update={"started_s": 60 + r.started_s}) for r in quiet.rounds]
    calibration = quiet.model_copy(update={"id": "yardstick", "role": CaseRole.CALIBRATION})
    cases: list[tuple[str, Results]] = [
        ("valid", _phone_results([_on_the_phone(mode) for mode in _PHONE_MODES])),
        ("with a control", _phone_results([quiet, control])),
        ("the control strays", _phone_results([quiet, strayed])),
        ("the control failed", _phone_results([quiet, _failed(control)])),
        ("hot and saving power", _phone_results([quiet], hot)),
        ("wrong answers", _phone_results([_on_the_phone("all", check=different)])),
        ("not checked", _phone_results([_on_the_phone("all", check=unknown)])),
        ("no record of a check", _phone_results([_on_the_phone("all", check=None)])),
        ("slows down", _phone_results([_slower(_on_the_phone("cpuOnly"), 1.3)])),
        ("interrupted", _phone_results([_on_the_phone("all", rounds=3, reason="interrupted")])),
        ("few samples", _phone_results([_on_the_phone("all", rounds=1, samples=3)])),
        ("many outliers", _phone_results([_many_outliers()])),
        ("slower beside a yardstick", _phone_results([_slower(_on_the_phone("cpuOnly"), 1.3), calibration])),
        ("hot long before", _phone_results([quiet.model_copy(update={"rounds": later})], [*hot, *cool])),
        ("failed on the way", _phone_results([_on_the_phone("all", outcome="failed", reason="it gave NaN")])),
        (
            "not reached",
            _phone_results([quiet, _on_the_phone("cpuOnly", seconds=None, outcome="not reached", check=None)]),
        ),
    ]
    return [
        {
            "name": name,
            "results": json.loads(to_json(results)),
            "judgements": {
                key: {"status": found.status, "reasons": list(found.reasons)} for key, found in judge(results).items()
            },
        }
        for name, results in cases
    ]


def _failed(each: Case) -> Case:
    """Copy a case that failed after three rounds."""
    return each.model_copy(update={"rounds": each.rounds[:3], "outcome": Outcome.FAILED, "reason": "it was ended"})


def _many_outliers() -> Case:
    each = _on_the_phone("all")
    rounds = [r.model_copy(update={"samples_s": [9 * r.samples_s[0], *r.samples_s[1:]]}) for r in each.rounds]
    return each.model_copy(update={"rounds": rounds})


def full_results() -> Results:
    """A results file with a value in every field."""
    paper = PROTOCOLS["paper"]
    measured = Case(
        id="EfficientViM-M4, coreml, coreml, fp16, all, all threads, 256x256, batch 1",
        group="coreml, own size, batch 1",
        role="contender",
        subject=CaseSubject(
            kind="model",
            name="EfficientViM-M4",
            source="a.mlpackage",
            weights="random:0, untrained",
            form="rewritten for inference",
            parameters=19_606_505,
            paper="EfficientViM-M4",
        ),
        engine="coreml",
        engine_version="iOS 18.1",
        mode="all",
        setting="iphone",
        device="coreml",
        precision="fp16",
        threads=2,
        height=256,
        width=256,
        batch=1,
        batch_asked=2,
        outcome="measured",
        reason="6 of 20 rounds",
        check=Check(status="equal", against="PyTorch fp32, golden", error=0.0121, tolerance=0.05),
        cold_start=ColdStart(load_s=0.31, first_prediction_s=0.0021),
        memory=Memory(peak_bytes=80 << 20, before_bytes=20 << 20, of="process"),
        attempts=[Attempt(batch=2, outcome="out of memory", limit_bytes=1 << 30, peak_bytes=1 << 30)],
        warmup_s=10.0,
        rounds=[Round(index=0, started_s=11.5, samples_s=[0.00104, 1 / 3, 1e-9])],
        breakdown=[Share(operation="conv", operation_class="convolution 1x1", seconds=0.0008, calls=131)],
    )
    reading = Reading(
        at_s=1.25,
        phase="before",
        load_1m=0.5,
        steal_share=0.0,
        others_share=0.1,
        frequency_mhz=4040.0,
        throttled=0,
        temperature_c=31.5,
        memory_available_bytes=3 << 30,
        accelerator_mhz=1400.0,
        accelerator_temperature_c=33.0,
        thermal_state="nominal",
        low_power_mode=False,
        battery_share=0.8,
    )
    protocol = ProtocolRecord(
        name=paper.name,
        seconds=paper.seconds,
        warmup_s=paper.warmup_s,
        rounds=paper.rounds,
        seed=7,
        budget_s=600.0,
        deviations=["1 seconds of timing instead of 60"],
    )
    return make_results(
        [measured],
        PHONE.model_copy(update={"accelerator": "Neural Engine", "packages": {"EvimKit": "0.1.0"}}),
        complete=False,
        incomplete_because="interrupted",
        notes=["a note"],
        readings=[reading],
        protocol=protocol,
    )


if __name__ == "__main__":
    write_all()
