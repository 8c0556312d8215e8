"""The operations inside the partitions of a delegate, on given execution plans."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_files import Computed, write_operation

import runtimes
from evim_deploy.common.errors import BadInput, NotInstalled, NotRunHere
from runtimes.delegation import Delegation, PlannedOperation, delegation

CHAIN = [PlannedOperation(type_, (tensor,), (tensor + 1,)) for tensor, type_ in enumerate("ABCDE")]


def part(inputs: tuple[int, ...], outputs: tuple[int, ...]) -> PlannedOperation:
    return PlannedOperation("DELEGATE", inputs, outputs)


@pytest.mark.parametrize(
    ("partitions", "outside"),
    [
        ([], "ABCDE"),
        ([part((0,), (5,))], ""),
        ([part((1,), (4,))], "AE"),
        ([part((0,), (2,)), part((3,), (5,))], "C"),
    ],
)
def test_operations_within_a_partition_are_inside(partitions: list[PlannedOperation], outside: str) -> None:
    assert delegation([*CHAIN, *partitions]) == Delegation(5, len(partitions), tuple(outside))


def test_an_operation_beside_a_partition_is_outside() -> None:
    """One of two branches is delegated; both have the same constant as an input."""
    branches = [
        PlannedOperation("LEFT", (0, 9), (1,)),
        PlannedOperation("RIGHT", (0, 9), (2,)),
        PlannedOperation("JOIN", (1, 2), (3,)),
    ]
    assert delegation([*branches, part((0, 9), (1,))]).outside == ("RIGHT", "JOIN")
    assert delegation([*branches, part((0, 9, 2), (3,))]).outside == ("RIGHT",)


def test_an_operation_of_several_outputs_is_one() -> None:
    split = [PlannedOperation("SPLIT", (0,), (1, 2)), PlannedOperation("ADD", (1, 2), (3,))]
    assert delegation([*split, part((0,), (3,))]) == Delegation(2, 1, ())


def test_formats_without_a_delegate_have_none(tmp_path: Path) -> None:
    for suffix in (".onnx", ".mlpackage", ".mlmodel"):
        assert runtimes.read_delegation(tmp_path / f"model{suffix}") is None


def test_a_host_without_litert_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_operation(tmp_path / "x.tflite", "ABS", [Computed((1, 4))], [Computed((1, 4))])
    assert runtimes.read_delegation(path) == Delegation(1, 1, ())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match="ai-edge-litert"):
        runtimes.read_delegation(path)


@pytest.mark.parametrize("at", [8, 200])
def test_a_file_that_crashes_litert_is_refused(tmp_path: Path, at: int) -> None:
    path = write_operation(tmp_path / "x.tflite", "ABS", [Computed((1, 4))], [Computed((1, 4))])
    content = path.read_bytes()
    path.write_bytes(content[:at] + b"\xff\xff\xff\x7f" * 8 + content[at + 32 :])
    with pytest.raises((NotRunHere, BadInput)):
        runtimes.read_delegation(path)
