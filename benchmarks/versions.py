"""Old and new versions of ONNX Runtime and LiteRT: M4 at 256x256 in two Python environments.

    python benchmarks/versions.py OLD_PYTHON benchmarks/cpu-versions.json

This interpreter is the new one; OLD_PYTHON has other versions of onnxruntime, ai-edge-litert and numpy. Both run the
code of this checkout, in a process for each case, and load the same file, which is exported once per format. Rounds
are interleaved in random order, with a control, a second process of the old version. `evim-deploy report` draws the
file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evim_deploy.catalog.variants import parse_model
from evim_deploy.common.progress import Silent
from latency.judgement import compare_with_baseline
from latency.plan import BenchRequest, Plan, PlannedCase, plan
from latency.protocol import PROTOCOLS
from latency.results import to_json
from latency.session import Session

ROOT = Path(__file__).parents[1]
MODEL, SIDE = "m4", 256
PROTOCOL = replace(PROTOCOLS["robust"], seconds=15)
BATCHES = {"onnxruntime": 16, "litert": 1}
"""Images in one prediction, by engine."""


def entries(request: BenchRequest, pythons: dict[str, str]) -> Iterator[PlannedCase]:
    """Plan a case for each engine and interpreter, named by the interpreter and the engine's version.

    Cases of one batch form a group; the first is its baseline.
    """
    for engine, batch in BATCHES.items():
        (entry,) = plan(replace(request, engines=(engine,), batches=(batch,))).cases
        for word, python in pythons.items():
            (package,) = entry.engine.requires
            name = f"{entry.subject.name} {word} {version_in(python, package)}"
            subject = replace(entry.subject, name=name)
            yield replace(entry, subject=subject, python=python)


def version_in(python: str, package: str) -> str:
    """The version of a package in an interpreter."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main(old: str, output: str) -> None:
    os.environ["PYTHONPATH"] = str(ROOT)  # the environment may have another checkout installed
    request = BenchRequest(protocol=PROTOCOL, models=(parse_model(MODEL),), sizes=((SIDE, SIDE),), threads=(2,))
    planned = Plan(tuple(entries(request, {"old": old, "new": sys.executable})))
    results, stop = Session(planned, request, ["python", "benchmarks/versions.py", *sys.argv[1:]], Silent()).measure()
    Path(output).write_text(to_json(results), "utf-8")
    if stop is not None:
        raise stop
    comparisons = compare_with_baseline(results)
    for case in results.cases:
        found = comparisons.get(case.id)
        if found is None or found.interval is None:
            continue
        ratio = f"{found.interval.estimate:.3f} [{found.interval.low:.3f}, {found.interval.high:.3f}]"
        versions = f"{case.engine} {case.engine_version} takes {ratio} times {found.baseline.engine_version}"
        sys.stdout.write(f"{versions}: {found.verdict}, noise {found.noise:.3f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
