"""Damaged programs are refused by the evaluator with one message, quickly and without much memory."""

from __future__ import annotations

import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_packages import SIDE, Program, changed, classifier, pixels

from evim_deploy.common.errors import BadInput, EvimError, NotRunHere
from runtimes.mil import MilSession

FILES = ("Data/com.apple.CoreML/weights/weight.bin", "Data/com.apple.CoreML/model.mlmodel", "Manifest.json")
HUGE = 2**31 - 1


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "sound.mlpackage"
    classifier(path, half=True)
    return path


def run(path: Path, mode: str = "fp16") -> Any:
    return MilSession(path, mode).run(pixels(0))


def test_the_sound_package_runs(package: Path) -> None:
    assert run(package)["probabilities"].sum() == pytest.approx(1, abs=1e-3)


# --- programs that parse and contradict themselves ---------------------------------------------------------


def shape(program: Program, kind: str) -> Any:
    return program.operation(kind).outputs[0].type.tensorType.dimensions


def rename(program: Program, kind: str, old: str, new: str) -> None:
    op = program.operation(kind)
    op.inputs[new].CopyFrom(op.inputs[old])
    del op.inputs[old]


def text(program: Program, kind: str, parameter: str, value: str) -> None:
    program.value(kind, parameter).immediateValue.tensor.strings.values[:] = [value]


CHANGES: dict[str, tuple[Callable[[Program], Any], str]] = {
    "a stride of 0": (lambda p: p.integers("conv", "strides", 0, 2), r"\(conv\) cannot be computed"),
    "a negative stride": (lambda p: p.integers("conv", "strides", 2, -2), r"\(conv\) cannot be computed"),
    "a stride too many": (
        lambda p: p.value("conv", "strides").immediateValue.tensor.ints.values.append(2),
        "3 elements, not 2",
    ),
    "a dilation of 0": (lambda p: p.integers("conv", "dilations", 0, 1), r"\(conv\) cannot be computed"),
    "a huge dilation": (lambda p: p.integers("conv", "dilations", HUGE, 1), "a value of shape"),
    "no groups": (lambda p: p.integers("conv", "groups", 0), r"\(conv\) cannot be computed"),
    "groups that do not divide": (lambda p: p.integers("conv", "groups", 2), r"\(conv\) cannot be computed"),
    "a huge padding": (lambda p: p.integers("conv", "pad", 1, HUGE, 1, HUGE), "GiB"),
    "a negative padding": (lambda p: p.integers("conv", "pad", -1, 1, 1, 1), "a negative padding"),
    "another padding": (lambda p: p.integers("conv", "pad", 1, 2, 3, 4), "is declared .* but is"),
    "an axis that there is not": (lambda p: p.integers("layer_norm", "axes", 4), r"\(layer_norm\) cannot be computed"),
    "a huge axis": (lambda p: p.integers("reduce_mean", "axes", HUGE, 3), "reduce_mean.* cannot be computed"),
    "a parameter that is missing": (lambda p: p.operation("conv").inputs.pop("weight"), "missing"),
    "two values for one": (
        lambda p: p.operation("relu").inputs["x"].arguments.add(name="image"),
        "has several values for 'x'",
    ),
    "a number for a value": (
        lambda p: setattr(p.operation("relu").inputs["x"].arguments[0], "name", "conv_0_groups_0"),
        r"\(relu\) cannot be computed",
    ),
    "another declared shape": (
        lambda p: setattr(shape(p, "conv")[1].constant, "size", 7),
        r"is declared \[1, 7, 4, 4\] but is \[1, 6, 4, 4\]",
    ),
    "another declared rank": (lambda p: shape(p, "conv").pop(), "is declared .* but is"),
    "another declared type": (
        lambda p: setattr(p.operation("conv").outputs[0].type.tensorType, "dataType", 23),
        "is declared int32 but is torch.float32",
    ),
    "an output too many": (
        lambda p: setattr(p.operation("relu").outputs.add(), "name", "more"),
        "returns 1 values, not 2",
    ),
    "another name of the input": (
        lambda p: setattr(p.spec.description.input[0], "name", "picture"),
        "has the input 'image'.* without a value",
    ),
    "another name of the probabilities": (
        lambda p: setattr(p.spec.description, "predictedProbabilitiesName", "gone"),
        "its program has no output 'gone'",
    ),
    "another output for the probabilities": (
        lambda p: setattr(p.spec.description, "predictedProbabilitiesName", "classLabel"),
        "'classLabel' is not a dictionary by label",
    ),
    "a label too few": (
        lambda p: p.value("classify", "classes").immediateValue.list.values.pop(),
        r"\(classify\) cannot be computed",
    ),
}

UNKNOWN: dict[str, tuple[Callable[[Program], Any], str]] = {
    # features of a newer Core ML, or a value that does not fit in memory: the package may be sound
    "a padding type that is unknown": (lambda p: text(p, "conv", "pad_type", "sane"), "pad_type 'sane'"),
    "a parameter that is unknown": (
        lambda p: rename(p, "conv", "strides", "strodes"),
        "conv with the parameter 'strodes'",
    ),
    "a type that is unknown": (
        lambda p: setattr(p.operation("conv").outputs[0].type.tensorType, "dataType", 77),
        "which is declared type 77",
    ),
    "a declared shape of terabytes": (
        lambda p: setattr(shape(p, "conv")[1].constant, "size", 2**40),
        "takes .* GiB; 4 GiB are the limit",
    ),
    "an unknown colour space": (
        lambda p: setattr(p.spec.description.input[0].type.imageType, "colorSpace", 25),
        "colour space 25",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("mode", ["fp32", "ane"])
def test_a_contradictory_program_is_damaged(package: Path, tmp_path: Path, name: str, mode: str) -> None:
    change, message = CHANGES[name]
    path = changed(package, tmp_path / "changed.mlpackage", change)
    with pytest.raises(BadInput, match=message) as caught:
        run(path, mode)
    assert str(path) in caught.value.cause
    assert "\n" not in caught.value.cause
    assert "report it" in caught.value.remedy or "damaged" in caught.value.cause  # the cause is unknown


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("mode", ["fp32", "ane"])
def test_a_program_that_may_be_newer_is_not_damaged(package: Path, tmp_path: Path, name: str, mode: str) -> None:
    change, message = UNKNOWN[name]
    path = changed(package, tmp_path / "changed.mlpackage", change)
    with pytest.raises(NotRunHere, match=message) as caught:
        run(path, mode)
    assert str(path) in caught.value.cause
    assert "damaged" not in caught.value.cause


def test_an_unknown_operation_is_not_run(package: Path, tmp_path: Path) -> None:
    path = changed(package, tmp_path / "changed.mlpackage", lambda p: setattr(p.operation("relu"), "type", "relu7"))
    with pytest.raises(NotRunHere, match=r"cannot be evaluated here: relu7 \(1 times\)"):
        run(path)


def test_control_flow_is_not_run(package: Path, tmp_path: Path) -> None:
    path = changed(package, tmp_path / "changed.mlpackage", lambda p: p.operation("relu").blocks.add())
    with pytest.raises(NotRunHere, match=r"cannot be evaluated here: relu \(1 times\)"):
        run(path)


def test_a_case_that_the_specification_leaves_open_is_not_run(package: Path, tmp_path: Path) -> None:
    def change(program: Program) -> None:
        program.operation("relu").type = "local_response_norm"
        program.operation("local_response_norm").inputs["size"].CopyFrom(program.operation("conv").inputs["groups"])
        program.integers("conv", "groups", 2)
        program.operation("conv").inputs.pop("groups")

    path = changed(package, tmp_path / "changed.mlpackage", change)
    with pytest.raises(NotRunHere, match="local_response_norm with a size of 2"):
        run(path)


# --- bits and bytes at random ------------------------------------------------------------------------------


def corrupted(content: bytes, draw: random.Random) -> bytes:
    """Flip bits, cut out or overwrite a part, or remove the end."""
    found = bytearray(content)
    kind = draw.choice(("bit", "bit", "bits", "overwritten", "cut", "truncated"))
    at = draw.randrange(len(found))
    length = draw.choice((1, 4, 16, 64))
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else 8):
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    elif kind == "overwritten":
        found[at : at + length] = draw.randbytes(min(length, len(found) - at))
    elif kind == "cut":
        del found[at : at + length]
    else:
        del found[at:]
    return bytes(found)


def test_150_corruptions_are_reported_or_leave_a_program_that_runs(package: Path, tmp_path: Path) -> None:
    """Only our own errors are raised, and a program that runs returns probabilities or values that are not finite."""
    draw = random.Random(0)
    sound = run(package)["probabilities"]
    outcomes = {"told": 0, "same": 0, "other": 0}
    least, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for number in range(150):
        member = FILES[number % len(FILES) if number % 5 else 1]  # the program more often: it has the most to corrupt
        path = Path(shutil.copytree(package, tmp_path / f"{number}.mlpackage"))
        (path / member).write_bytes(corrupted((path / member).read_bytes(), draw))
        try:
            (values,) = run(path).values()
        except EvimError as error:
            outcomes["told"] += "\n" not in error.cause
            continue
        outcomes["same" if np.array_equal(values, sound) else "other"] += 1
    assert outcomes["told"] > 60
    assert outcomes["same"] > 5  # names, versions and padding of the file have no effect
    assert time.process_time() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - least < 2**20  # KiB: a gigabyte


@pytest.mark.parametrize("mode", ["fp32", "fp16", "ane"])
def test_an_image_of_another_shape_is_refused(package: Path, mode: str) -> None:
    session = MilSession(package, mode)
    for shape in ((1, 3, SIDE, SIDE + 1), (2, 3, SIDE, SIDE), (1, 1, SIDE, SIDE), (3, SIDE, SIDE)):
        with pytest.raises(BadInput, match=f"accepts images of 1x3x{SIDE}x{SIDE}, not {'x'.join(map(str, shape))}"):
            session.run(np.zeros(shape, dtype=np.float32))
