"""Measure the errors of correct artifacts: the distributions behind evim_deploy/proof/outputs/tolerances.py.

``python tests/support/distribution.py`` measures the random variants of random_variants.py in some minutes on one
core; with the argument ``native`` it measures M1 to M4, plain and distilled, at their native size.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from random_variants import NATIVE, VARIANTS, drawn
from simulated import reference_of, target_of

import exporters
from evim_deploy.artifact.parity import OutputComparison
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import PUBLISHED_MODELS
from evim_deploy.common.progress import Silent
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove


def main() -> None:
    rows: dict[tuple[str, str, str], list[OutputComparison]] = defaultdict(list)
    for reference, native, target in native_models() if "native" in sys.argv else random_variants():
        for comparison in comparisons(ParityChecker(reference, native), reference, target):
            format_ = "pytorch" if comparison.check == "rewrites" else target.format
            rows[format_, target.precision, f"{comparison.check} {comparison.mode}"].append(comparison)
    for (format_, precision, how), result in sorted(rows.items()):
        largest = [comparison.measures.max_abs for comparison in result]
        means = [comparison.measures.mean_abs for comparison in result]
        print(  # noqa: T201, its purpose
            f"{format_:8} {precision} {how:16} of {len(result)}: max_abs median {statistics.median(largest):.1e}, "
            f"largest {max(largest):.1e}; mean_abs largest {max(means):.1e}",
            flush=True,
        )


def random_variants() -> Iterator[tuple[GraphReference, int, Target]]:
    for seed in range(VARIANTS):
        asked = drawn(seed)
        reference = reference_of(asked.variant, seed, asked.classes, asked.distilled)
        for target in asked.targets():
            yield reference, NATIVE, target


def native_models() -> Iterator[tuple[GraphReference, int, Target]]:
    for seed, name in enumerate(PUBLISHED_MODELS.values()):
        side = name.variant.resolution
        reference = reference_of(name.variant, seed, 1000, name.distilled)
        for row in exporters.FORMATS.values():
            for precision in UNQUANTISED:
                yield reference, side, target_of(row.name, precision, row.default_output, (side, side), classes=1000)


def comparisons(checker: ParityChecker, reference: GraphReference, target: Target) -> Iterator[OutputComparison]:
    row = exporters.FORMATS[target.format]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"artifact{row.suffix}"
        exporters.load(row).build(reference.stored_form(target), target, path)
        yield from prove(path, target, checker, Silent()).comparisons
        if (target.format, target.precision) == ("coreml", "fp16"):
            yield prove(path, target, checker, Silent(), mode="ane").comparisons[-1]


if __name__ == "__main__":
    main()
