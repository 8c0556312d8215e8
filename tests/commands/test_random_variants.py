"""Sixty random variants, each in three formats and two precisions: every artifact is proven, without a miss."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_variants import NATIVE, VARIANTS, drawn
from simulated import reference_of

import exporters
from evim_deploy.common.progress import Silent
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove

EVERY_RUN = 15
"""Number of variants in every run; the exhaustive run tests the others."""

LEAST_SHARE = 0.8
"""Of layers, that each proof sees a disturbance in.

Below the 0.9 of a pass a proof ends in a warning: here, where a stage of 2 states or 12 channels gives the answer
little, a hundredth of a layer may be lost in float32's rounding. That is no miss of an artifact: all its
comparisons pass.
"""


@pytest.mark.parametrize("count", [EVERY_RUN, VARIANTS])
def test_the_draw_has_all_kinds(count: int) -> None:
    asked = [drawn(seed) for seed in range(count)]
    assert len({each.variant for each in asked}) == count
    assert {each.output for each in asked} == {"logits", "probabilities", "features"}
    assert {each.batch for each in asked} == {1, 2}
    assert {each.distilled for each in asked} == {each.preprocess for each in asked} == {True, False}
    assert {depth for each in asked for depth in each.variant.depths} == {1, 2}
    assert {tuple(side % 2 for side in each.size) for each in asked} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert min(each.classes for each in asked) == 2
    assert all(len(list(each.targets())) == 6 for each in asked)


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=pytest.mark.slow if seed < EVERY_RUN else pytest.mark.exhaustive)
        for seed in range(VARIANTS)
    ],
)
def test_a_random_variant_is_proven_in_every_format_and_precision(seed: int, tmp_path: Path) -> None:
    asked = drawn(seed)
    reference = reference_of(asked.variant, seed, asked.classes, asked.distilled)
    prover = ParityChecker(reference, NATIVE)
    for target in asked.targets():
        row = exporters.FORMATS[target.format]
        path = tmp_path / f"{target.precision}{row.suffix}"
        exporters.load(row).build(reference.stored_form(target), target, path)
        result = prove(path, target, prover, Silent())
        assert result.status in ("pass", "warning"), f"{target}: {result.reason}"
        assert {each.status for each in result.comparisons} == {"pass"}
        assert [each.check for each in result.comparisons] == (
            ["program"] if target.precision == "fp32" else ["rewrites", "program", "precision"]
        )
        assert result.stored is not None
        assert result.stored.compared == result.stored.arrays
        assert result.sensitivity is not None
        assert result.sensitivity.caught >= LEAST_SHARE * result.sensitivity.layers, f"{target}: {result.sensitivity}"
