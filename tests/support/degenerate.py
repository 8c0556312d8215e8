"""Networks whose parameters are zero, constant, sparse, huge or tiny, in every quantised precision.

``python tests/support/degenerate.py`` exports the 200 variants of test_fuzz_quantise.py in all precisions, in about an
hour on one core; ``python tests/support/degenerate.py FIRST END [FORMAT:PRECISION...]`` some of them.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from simulated import reference_to, target_of
from torch import Tensor

import exporters
from evim_deploy.artifact.parity import Measures, Parity, ParityStatus
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import ModelName, Variant
from evim_deploy.common.errors import BadInput
from evim_deploy.common.progress import Silent
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.outputs.differences import measure, pair_outputs
from evim_deploy.proof.prove import prove
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import PHOTOGRAPHS, CalibrationImages
from evim_deploy.quantise.equalisation import equalisation_exponents, equalise
from evim_deploy.quantise.schemes import SCHEMES

SIDE = 64
VARIANTS = 200

Damage = Callable[[random.Random, Tensor], object]


def _part(draw: random.Random, tensor: Tensor) -> Tensor:
    """Select one channel of a parameter, or a whole scalar parameter."""
    return tensor[draw.randrange(len(tensor))] if tensor.ndim else tensor


def _mask(draw: random.Random, tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(draw.randrange(1 << 30))
    return torch.rand(tensor.shape, generator=generator) < 0.05


DAMAGES: dict[str, Damage] = {
    "zero": lambda draw, tensor: tensor.zero_(),
    "a channel zero": lambda draw, tensor: _part(draw, tensor).zero_(),
    "sparse": lambda draw, tensor: tensor.mul_(_mask(draw, tensor)),
    "constant": lambda draw, tensor: tensor.fill_(float(tensor.flatten()[0])),
    "negative": lambda draw, tensor: tensor.copy_(-tensor.abs()),
    "huge": lambda draw, tensor: tensor.mul_(draw.choice((1e2, 1e4, 1e8, 1e15))),
    "a channel huge": lambda draw, tensor: _part(draw, tensor).mul_(draw.choice((1e3, 1e6, 1e12))),
    "tiny": lambda draw, tensor: tensor.mul_(draw.choice((1e-2, 1e-4, 1e-8, 1e-15, 1e-30))),
    "a channel tiny": lambda draw, tensor: _part(draw, tensor).mul_(draw.choice((1e-3, 1e-6, 1e-20, 1e-38))),
    "subnormal": lambda draw, tensor: tensor.fill_(1e-40),
}


def kind(name: str) -> str:
    """Kind of a parameter, from its path in the model: norm weight, weight, A, D, alpha and so on."""
    *path, leaf = name.split(".")
    return f"norm {leaf}" if "norm" in path else leaf


def damage(model: EfficientViM, seed: int) -> list[str]:
    """Damage one to three parameters, or all of a kind; return a description of each damage."""
    draw = random.Random(seed)
    groups = defaultdict(list)
    for name, tensor in model.state_dict().items():  # state_dict() shares its tensors with the model
        if tensor.is_floating_point():
            groups[kind(name)].append((name, tensor))
    damages = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        kind_, change = draw.choice(sorted(groups)), draw.choice(sorted(DAMAGES))
        chosen = groups[kind_] if draw.random() < 0.3 else [draw.choice(groups[kind_])]
        for name, tensor in chosen:
            DAMAGES[change](draw, tensor)
            if name.endswith("running_var"):
                tensor.abs_()
        damages.append(f"{change}: {kind_} ({chosen[0][0]}{' and all others' if len(chosen) > 1 else ''})")
    return damages


def damaged_network(seed: int) -> tuple[EfficientViM, list[str]]:
    """Create a damaged tiny network; return it with the descriptions of its damages."""
    draw = random.Random(seed)
    c1, c2, c3 = (draw.choice((16, 24, 32)) for _ in range(3))
    n1, n2, n3 = (draw.randint(2, 7) for _ in range(3))
    variant = Variant(name="degenerate", depths=(1, 1, 1), channels=(c1, c2, c3), states=(n1, n2, n3), resolution=SIDE)
    model = untrained_model(ModelName(variant, draw.random() < 0.2), 10, seed)
    return model, damage(model, seed)


def quantised_target(reference: GraphReference, format_: str, precision: str) -> Target:
    """Plan the target like ``export``, without measuring the sensitivity of layers.

    Raises:
        BadInput: The network overflows.
    """
    scheme = SCHEMES[format_, precision]
    target = replace(
        target_of(format_, precision, size=(SIDE, SIDE)),
        deployment_target=scheme.deployment_target,
        quantisation=Quantisation(),
    )
    if not scheme.is_calibrated:
        return target
    images = CalibrationImages(
        source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=reference.preprocessing, preprocess=True
    )
    graph = reference.inference(target)
    exponents = equalisation_exponents(graph, images)
    qparams = calibrate(equalise(graph, exponents), scheme, images, pixels=True)
    return replace(
        target,
        quantisation=Quantisation(equalisation_exponents=tuple(exponents.items()), qparams=tuple(qparams.items())),
    )


def proof(checker: ParityChecker, format_: str, precision: str, folder: Path) -> Parity:
    """Write, load and run an artifact, and return its proof.

    Raises:
        BadInput: The network overflows the type that the precision computes in.
    """
    reference = checker.reference
    assert isinstance(reference, GraphReference)
    row = exporters.FORMATS[format_]
    target = quantised_target(reference, format_, precision)
    checker.require_finite(target)
    path = folder / f"{format_}.{precision}{row.suffix}"
    exporters.load(row).build(reference.stored_form(target), target, path)
    return prove(path, target, checker, Silent())


def float32_loss(checker: ParityChecker) -> Measures:
    """Error of the network in PyTorch's float32 against float64."""
    reference = checker.reference
    assert isinstance(reference, GraphReference)
    images = CalibrationImages(
        source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=reference.preprocessing, preprocess=False
    )
    inputs = torch.from_numpy(np.concatenate(list(images)))
    with torch.no_grad():
        single, double = reference.model(inputs), deepcopy(reference.model).double()(inputs.double())
    names = [str(index) for index in range(len(inputs))]
    return measure(pair_outputs(names, {"logits": double.numpy()}, {"logits": single.numpy()}), classes=False)


def export_result(checker: ParityChecker, format_: str, precision: str, folder: Path) -> str:
    """``pass``, or the reason of a failure, which begins with ``refused`` if the network itself is the cause."""
    try:
        parity = proof(checker, format_, precision, folder)
    except BadInput as error:
        is_named = any(words in error.cause for words in ("overflows float32", "overflows float16", "overflow float16"))
        return f"refused: {error}" if is_named else f"{type(error).__name__}: {error}"
    if parity.status in (ParityStatus.PASS, ParityStatus.WARNING):
        return "pass"
    overflows = [each for each in parity.comparisons if "overflow" in each.anomaly_totals()]
    failed = [each for each in parity.comparisons if each.status not in (ParityStatus.PASS, ParityStatus.WARNING)]
    is_named = bool(failed) and all(each in overflows and "overflow float16" in parity.reason for each in failed)
    if any(each.check == "rewrites" and not each.tolerance.allows(float32_loss(checker)) for each in failed):
        return f"refused: float32 is too coarse for the network itself: {parity.reason}"
    return f"{'refused' if is_named else 'failed'}: {parity.reason}"


def main(first: int, end: int, names: Iterable[tuple[str, str]]) -> None:
    counts: dict[str, int] = defaultdict(int)
    start = time.monotonic()
    for seed in range(first, end):
        model, damages = damaged_network(seed)
        checker = ParityChecker(reference_to(model), SIDE)
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                result = export_result(checker, *name, Path(folder))
                counts[result.partition(":")[0]] += 1
                if result != "pass":
                    print(f"{seed} {':'.join(name)} ({'; '.join(damages)}): {result[:500]}", flush=True)  # noqa: T201
        print(f"{seed} {time.monotonic() - start:.0f} s {dict(counts)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    first, end = map(int, sys.argv[1:3] or (0, VARIANTS))
    names = [name for name in SCHEMES if ":".join(name) in sys.argv[3:] or not sys.argv[3:]]
    main(first, end, names)
