"""An export reads, parses and hashes each version of its file once; verify checks the hash before the proof."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import onnx
import onnxruntime
import pytest

from evim_deploy import formats
from evim_deploy.catalog.variants import DIGITS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verifier
from evim_deploy.proof.outputs.checker import ParityChecker

PROOF = "proof"


@dataclass
class Log:
    """The calls of an export or a verification in their order, and the warnings."""

    calls: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        pass

    def advance(self, text: str, done: int, total: int) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self.calls.append(text)

    def before_the_proof(self) -> list[str]:
        return self.calls[: self.calls.index(PROOF)]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()

    def record(owner: object, name: str, call: str) -> None:
        original = getattr(owner, name)

        def recorded(*args: object, **kwargs: object) -> object:
            log.calls.append(call)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    def file_digest(file: IO[bytes], algorithm: str) -> object:
        if file.name.endswith(".onnx"):
            log.calls.append("sha256")
        return digest(file, algorithm)  # type: ignore[arg-type]

    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    record(formats, "read", "read")
    record(onnx, "load", "onnx.load")
    record(onnxruntime, "InferenceSession", "session")
    record(ParityChecker, "prove", PROOF)
    return log


def exported(folder: Path, precision: str = "fp16") -> Path:
    (document,) = export(
        Request(model=ModelName(DIGITS), formats=("onnx",), precisions=(precision,), output_dir=folder)
    )
    return Path(document["path"])


def test_an_export_reads_its_file_before_and_after_the_metadata_and_hashes_it_once(log: Log, tmp_path: Path) -> None:
    """Besides, the exporter loads it to write the metadata, and the proof for its float32 program and its weights."""
    exported(tmp_path)
    assert log.before_the_proof() == ["read", "onnx.load", "read", "sha256"]
    assert sorted(log.calls[5:]) == ["onnx.load", "onnx.load", "session", "session"]


def test_verify_reads_and_hashes_its_file_once_and_before_the_proof(log: Log, tmp_path: Path) -> None:
    path = exported(tmp_path)
    log.calls.clear()
    assert Verifier().verify(path).parity.status == "pass"
    assert log.before_the_proof() == ["read", "sha256"]
    assert log.calls.count("read") == log.calls.count("sha256") == 1


def test_a_changed_hash_is_a_warning_before_the_proof(log: Log, tmp_path: Path) -> None:
    path = exported(tmp_path)
    digest = json.loads(path.with_name(f"{path.name}.json").read_text())["sha256"]
    model = onnx.load(path)
    model.doc_string = "another description"
    onnx.save(model, path)
    log.calls.clear()
    verification = Verifier(progress=log).verify(path)
    reason = f"other bytes than were exported: their sha256 is not {digest[:12]}"
    assert log.before_the_proof() == ["read", "sha256", f"{path} has {reason}."]
    assert (verification.parity.status, verification.parity.reason) == ("fail", f"it has {reason}")
