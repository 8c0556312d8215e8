"""Failed proofs: the fault is the network's, the precision's or the artifact's, and the remedy follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import tiny_timm
import torch
from torch import Tensor, nn

from evim_deploy.artifact.parity import Check, ParityStatus, StoredWeights
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.commands.export import _Job
from evim_deploy.commands.request import Request
from evim_deploy.common.errors import ParityFailed
from evim_deploy.common.numerics import with_probabilities
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.timm.open import find_timm, open_timm
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.reference import ModuleReference
from evim_deploy.proof.fault import parity_failure
from evim_deploy.proof.outputs.checker import CheckRun, ParityChecker

NAME = find_timm(tiny_timm.NAME)
SIDE = tiny_timm.SIDE
TARGET = Target(
    format="onnx",
    precision="fp32",
    height=SIDE,
    width=SIDE,
    batch=1,
    task="classify",
    output="logits",
    preprocess=True,
    labels=(),
)
ILL, WELL = 1e4, 0.0


class Cancelling(nn.Module):
    """A network with a large number added to its logits and subtracted again, which cancels them in float32."""

    def __init__(self, network: nn.Module, amount: float) -> None:
        super().__init__()
        self.network = network
        self.amount = amount

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)
        return (logits + self.amount) - self.amount


def job_of(amount: float, trained: bool = False) -> _Job:
    result = open_timm(NAME, "random:3", None, lambda _: None)
    module = Cancelling(result.module, amount).eval()

    def compute(images: Array) -> dict[str, Array]:
        with torch.no_grad():
            return with_probabilities(module(torch.from_numpy(images)).numpy())

    opened = replace(result, original=compute, module=module, weights=Weights("random:3", trained, ""))
    reference = ModuleReference(opened, (SIDE, SIDE))
    request = Request(model=NAME, formats=(TARGET.format,))
    return _Job(request=request, reference=reference, checker=ParityChecker(reference, SIDE))


class Artifact:
    """A session that computes the network in float64, and changes the result."""

    anomalies: Mapping[str, Mapping[str, int]] = MappingProxyType({})

    def __init__(self, job: _Job, change: Callable[[Array], Array]) -> None:
        assert isinstance(job.reference, ModuleReference)
        self._network = deepcopy(job.reference.network(TARGET)._module).double()
        self._change = change

    def run(self, image: Array) -> dict[str, Array]:
        with torch.no_grad():
            logits = self._network(torch.from_numpy(image).double()).numpy()
        return {"logits": self._change(logits).astype(np.float32)}


def failure(
    job: _Job, change: Callable[[Array], Array], check: Check = Check.PROGRAM, target: Target = TARGET
) -> ParityFailed:
    sound, changed = Artifact(job, lambda logits: logits), Artifact(job, change)
    runs = [CheckRun(check, "test", target.precision, lambda: nullcontext(changed))]
    if check == Check.PRECISION:
        runs.insert(0, CheckRun(Check.PROGRAM, "test", "fp32", lambda: nullcontext(sound)))
    parity = job.checker.prove(target, runs)
    assert parity.status == ParityStatus.FAIL
    return parity_failure(job.checker, target, parity.reason, [(target, parity)])


def test_the_fault_is_the_network_s_if_float32_cannot_compute_it() -> None:
    result = failure(job_of(ILL), lambda logits: logits)
    assert result.exit_code == 5
    assert "own float32 differs from its float64 by" in result.cause
    assert "It was not kept." in result.remedy
    assert "-w random:1" in result.remedy
    assert "report" not in result.remedy


def test_of_trained_weights_no_other_seed_is_advised() -> None:
    remedy = failure(job_of(ILL, trained=True), lambda logits: logits).remedy
    assert "weights of a fully trained network" in remedy
    assert "random" not in remedy


@pytest.mark.parametrize("amount", [ILL, WELL])
def test_a_wrong_artifact_is_not_excused(amount: float) -> None:
    """An error far beyond the network's own is the artifact's fault, even if the network is ill-conditioned."""
    result = failure(job_of(amount), lambda logits: np.roll(logits, 1, axis=-1))
    assert "float64" not in result.cause
    assert "fault of evim-deploy or of a converter: please report it" in result.remedy


def test_wrong_weights_in_the_file_are_not_excused() -> None:
    job = job_of(ILL)
    parity = job.checker.prove(
        TARGET, [CheckRun(Check.PROGRAM, "test", "fp32", lambda: nullcontext(Artifact(job, lambda x: x)))]
    )
    parity = replace(parity, stored=StoredWeights(2, 2, ("stem.0.weight",)))
    assert "please report it" in parity_failure(job.checker, TARGET, parity.reason, [(TARGET, parity)]).remedy


def test_the_fault_is_the_precision_s_if_the_program_passes() -> None:
    half = replace(TARGET, precision="fp16")
    job = job_of(WELL)
    stored = job.reference.simulated_network(half)
    off = Artifact(job, lambda logits: logits + 0.2 * np.ptp(logits) * np.sign(logits))
    runs = [
        CheckRun(Check.PROGRAM, "test", "fp32", lambda: nullcontext(stored)),
        CheckRun(Check.PRECISION, "test", "fp16", lambda: nullcontext(off)),
    ]
    parity = job.checker.prove(half, runs)
    result = parity_failure(job.checker, half, parity.reason, [(half, parity)])
    assert (
        result.remedy == "It was not kept. In fp16 this network loses more than is allowed: choose another --precision."
    )


def test_a_network_with_a_fixed_type_has_no_float32_rounding() -> None:
    class Fixed(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.mean((2, 3)) @ torch.ones(3, 12)

    result = open_timm(NAME, "random:3", None, lambda _: None)
    reference = ModuleReference(replace(result, module=Fixed().eval()), (SIDE, SIDE))
    assert ParityChecker(reference, SIDE).float32_rounding(TARGET) is None


def test_the_engine_of_the_reference_is_named() -> None:
    job = job_of(WELL)
    assert job.reference.engine == "PyTorch"
    opened = open_timm(NAME, "random:3", None, lambda _: None)
    reference = ModuleReference(replace(opened, engine="ONNX Runtime"), (SIDE, SIDE))
    network = reference.network(TARGET)
    parity = ParityChecker(reference, SIDE).prove(
        TARGET, [CheckRun(Check.PROGRAM, "test", "fp32", lambda: nullcontext(network))]
    )
    assert parity.comparisons[0].reference == "ONNX Runtime"
    assert isinstance(opened, LoadedModel)
