"""Damaged artifacts: one message instead of an exception, no hang, and no pass if an output changed."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from networks import tiny

import exporters
import runtimes
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import MODELS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verifier, VerifyResult
from evim_deploy.common.errors import EvimError
from evim_deploy.proof.outputs.tolerances import TOLERANCES

NAME = "efficientvim_tiny"
SIZE = (40, 48)
CLASSES = 12
EVERY_RUN, EXHAUSTIVE = range(60, 90), range(60)  # seeds of corruptions of each of six artifacts
MOST_WORK = 20.0  # seconds of a processor for one of them

Damage = Callable[[random.Random, bytearray], None]


def flip_bits(draw: random.Random, content: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 2, 8))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def overwrite(draw: random.Random, content: bytearray) -> None:
    start = draw.randrange(len(content))
    length = draw.choice((1, 4, 64))
    content[start : start + length] = draw.randbytes(length)[: len(content) - start]


def blank(draw: random.Random, content: bytearray) -> None:
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.choice((4, 256, 4096)))
    content[start:end] = bytes(end - start)


def truncate(draw: random.Random, content: bytearray) -> None:
    del content[draw.randrange(len(content)) :]


def cut_out(draw: random.Random, content: bytearray) -> None:
    start = draw.randrange(len(content))
    del content[start : start + draw.choice((1, 16, 1024))]


def append(draw: random.Random, content: bytearray) -> None:
    content += draw.randbytes(draw.choice((1, 512)))


DAMAGES: tuple[Damage, ...] = (flip_bits, flip_bits, flip_bits, overwrite, blank, truncate, cut_out, append)


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """The complete verification, with a network that takes milliseconds."""
    MODELS[NAME] = ModelName(tiny(3, depths=(1, 1, 1)))
    yield
    del MODELS[NAME]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier()


def sound_artifact(folder: Path, format_: str, precision: str) -> Path:
    folder.mkdir()
    labels = folder / "labels.txt"
    labels.write_text("".join(f"class {index}\n" for index in range(CLASSES)))
    made = export(
        Request(
            model=MODELS[NAME],
            formats=(format_,),
            precisions=(precision,),
            sizes=(SIZE,),
            weights="random:3",
            num_classes=CLASSES,
            labels=labels,
            output_dir=folder,
        )
    )
    return Path(made[0]["path"])


def members(artifact: Path) -> list[Path]:
    """The files of an artifact and the manifest beside it, each equally likely to be damaged."""
    own = [artifact] if artifact.is_file() else sorted(path for path in artifact.rglob("*") if path.is_file())
    return [*own, *own, artifact.with_name(artifact.name + ".json")]


def outputs(artifact: Path) -> npt.NDArray[np.float32]:
    """The outputs of an artifact for an image that verify does not use."""
    image = np.random.RandomState(77).randint(0, 256, (1, 3, *SIZE)).astype(np.float32)
    engine = runtimes.tracing_engine(artifact)
    with runtimes.open_artifact(artifact, engine, "fp32") as session:
        (values,) = session.run(image).values()
    return values


def error(sound: npt.NDArray[np.float32], result: npt.NDArray[np.float32]) -> float:
    """The largest difference of the logits, in units of the range of the intact artifact's."""
    if sound.min() >= 0:  # probabilities
        sound, result = (np.log(np.maximum(values, 1e-37)) for values in (sound, result))
        sound, result = sound - sound.mean(), result - result.mean()
    return float(np.abs(result - sound).max() / (sound.max() - sound.min()))


@pytest.mark.slow
@pytest.mark.parametrize("precision", UNQUANTISED)
@pytest.mark.parametrize("format_", exporters.FORMATS)
@pytest.mark.parametrize(
    "seeds",
    [EVERY_RUN, pytest.param(EXHAUSTIVE, marks=pytest.mark.exhaustive)],
    ids=["few", "more"],
)
def test_damaged_artifacts(tmp_path: Path, verifier: Verifier, seeds: range, format_: str, precision: str) -> None:
    artifact = sound_artifact(tmp_path / "sound", format_, precision)
    assert verifier.check(artifact).problem is None
    expected = outputs(artifact)
    ends: Counter[str] = Counter()
    for seed in seeds:
        draw = random.Random(f"{format_} {precision} {seed}")
        folder = tmp_path / str(seed)
        shutil.copytree(artifact.parent, folder)
        copy = folder / artifact.name
        if draw.random() < 0.5:  # a copy without its manifest has nothing that says what its bytes were
            copy.with_name(copy.name + ".json").unlink()
        victim = draw.choice([path for path in members(copy) if path.exists()])
        content = bytearray(victim.read_bytes())
        before = bytes(content)
        draw.choice(DAMAGES)(draw, content)
        victim.write_bytes(content)
        if draw.random() < 0.03:
            victim.unlink()

        start = time.process_time()
        result = verifier.check(copy)
        assert time.process_time() - start < MOST_WORK, f"seed {seed}: {victim.name}"
        output = ended(result)
        ends[output] += 1
        if output in (ParityStatus.PASS, ParityStatus.WARNING) and bytes(content) != before:
            allowed = TOLERANCES[format_, "fp32"].max_abs
            assert error(expected, outputs(copy)) <= 2 * allowed, f"seed {seed}: {victim.name} passes"
        shutil.rmtree(folder)
    assert ends["3"] >= len(seeds) / 5  # what cannot be read
    assert ends["5"] >= len(seeds) / 10  # what can be read, and is another model


def ended(result: VerifyResult) -> str:
    """The exit code of a result, or the status of its proof without a problem."""
    if result.problem is None:
        assert result.verification is not None
        return result.verification.parity.status
    assert isinstance(result.problem, EvimError)
    assert result.problem.exit_code in (3, 5, 6)
    assert result.problem.cause.strip()
    assert result.problem.remedy.strip()
    assert "Traceback" not in str(result.problem)
    return str(result.problem.exit_code)
