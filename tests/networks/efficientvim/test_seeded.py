"""Seeded weights are the same on every machine, and a parity check on them can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from networks import tiny
from simulated import reference_to, target_of

import exporters
from evim_deploy.catalog.variants import MODELS, VARIANTS, ModelName
from evim_deploy.common.progress import Silent
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.networks.seeding import state_sha256
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove

Array = npt.NDArray[np.float32]

CLASSES = 10


def logits_of_photographs(model: EfficientViM) -> Array:
    """(photographs, classes)"""
    side = model.variant.resolution
    shots = np.stack([photographs.load(name, side, side) for name in photographs.NAMES]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return model(torch.from_numpy(normalise(shots.astype(np.float32)))).numpy()


def variation(logits: Array) -> float:
    """The difference of two photographs' logits, in units of the deviation of all logits."""
    return float(logits.std(axis=0).mean() / logits.std())


@pytest.mark.parametrize(
    ("name", "seed"),
    [("efficientvim_m1", 0), ("efficientvim_m1", 1), ("efficientvim_m1_dist", 2), ("efficientvim_m4", 0)],
)
def test_untrained_logits_depend_on_the_image(name: str, seed: int) -> None:
    logits = logits_of_photographs(untrained_model(MODELS[name], 1000, seed))
    assert variation(logits) > 0.3
    assert 3 < np.abs(logits).max() < 30  # as large as a trained model's


def test_variation_sees_what_does_not_depend_on_the_image() -> None:
    same = np.tile(np.linspace(-1, 1, 100, dtype=np.float32), (4, 1))
    assert variation(same) == 0
    model = untrained_model(MODELS["efficientvim_m1"], 100, 0)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # statistics drawn at random: what field-notes.md warns of
            norm.get_buffer("running_mean").normal_(generator=torch.Generator().manual_seed(0))
            norm.get_buffer("running_var").uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    assert variation(logits_of_photographs(model)) < 0.3


GOLDEN = {
    ("m1", False, 0): "819dd804e3eb1a802ed0d67d9b7e2458a8121386412d295ff30ddb867fed3144",
    ("m4", False, 0): "9ab397a8378e04f460e2ff6f5a505419398e15bf1facf30488d365e4b723d50e",
}


@pytest.mark.parametrize(("variant", "distilled", "seed"), GOLDEN)
def test_a_seed_gives_the_same_weights_on_every_machine(variant: str, distilled: bool, seed: int) -> None:
    """A change of these hashes changes every artifact with ``random:SEED`` weights and belongs in the change log."""
    model = untrained_model(ModelName(VARIANTS[variant], distilled), 1000, seed)
    assert state_sha256(model) == GOLDEN[variant, distilled, seed]


def test_other_seeds_give_other_weights() -> None:
    name = ModelName(tiny(0))
    hashes = {state_sha256(untrained_model(name, CLASSES, seed)) for seed in (0, 1, 2, 2**32 - 1)}
    assert len(hashes) == 4


@pytest.mark.parametrize("name", [ModelName(VARIANTS["m1"]), ModelName(tiny(0), True), ModelName(tiny(1))], ids=str)
def test_the_number_of_threads_changes_no_bit(name: ModelName) -> None:
    """The order of the sums depends on the number of threads, and the rounding hides it."""
    before = torch.get_num_threads()
    hashes = set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            hashes.add(state_sha256(untrained_model(name, CLASSES, 3)))
    finally:
        torch.set_num_threads(before)
    assert len(hashes) == 1


@pytest.mark.parametrize("output", ["logits", "probabilities"])
@pytest.mark.parametrize("seed", range(3))
def test_untrained_weights_bear_fp16(tmp_path: Path, seed: int, output: str) -> None:
    """The rounding error is not zero, and well under the tolerance."""
    reference = reference_to(untrained_model(MODELS["efficientvim_m1"], 1000, seed))
    target = target_of("onnx", "fp16", output, (96, 160), None, classes=1000)
    path = tmp_path / "half.onnx"
    exporters.load(exporters.FORMATS["onnx"]).build(reference.stored_form(target), target, path)
    result = prove(path, target, ParityChecker(reference, 224), Silent())
    _, program, precision = result.comparisons
    assert program.measures.max_abs < 1e-2 * precision.measures.max_abs
    assert precision.measures.max_abs < 0.75 * precision.tolerance.max_abs
    assert precision.measures.mean_abs < 0.75 * precision.tolerance.mean_abs
    assert result.status == "pass"
