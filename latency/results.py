"""The results file: the cases, the host, the conditions, and every sample.

The file holds only measurements. Ratios, intervals and verdicts are computed from them on demand. Its JSON Schema is
``results.schema.json`` beside this module; the phone app writes the same format.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError, field_validator

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import dump_json, parse_json
from latency.enums import CaseRole, CheckStatus, Outcome, SubjectKind

SCHEMA: Final = "evim-deploy-latency"
SCHEMA_VERSION: Final = 1
SCHEMA_FILE = Path(__file__).with_name("results.schema.json")

LARGEST_FILE = 1 << 28
"""Largest results file that is read, bytes; a day of samples needs a tenth of it."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """A part of the file. Unknown fields are an error, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)


class Host(_Part):
    """The host, in words."""

    system: str
    """Operating system and its version."""
    machine: str
    """Model of the computer or phone, if the system reports it."""
    processor: str
    """The processor's name."""
    cores: PositiveInt
    """Logical cores that the process may use."""
    memory_bytes: PositiveInt | None = None
    """Memory that the process may use."""
    accelerator: str | None = None
    """GPU and its driver, if there is one."""
    packages: dict[str, str] = {}
    """Versions by package name."""


class Reading(_Part):
    """State of the host at one moment; values that the host does not report are absent."""

    at_s: Seconds
    """Seconds since the run began."""
    phase: Literal["before", "during", "after"]
    load_1m: NonNegativeFloat | None = None
    """Running and waiting processes, averaged over a minute."""
    steal_share: NonNegativeFloat | None = None
    """Share of the CPU time since the last reading that the hypervisor gave to other machines."""
    others_share: NonNegativeFloat | None = None
    """Time that processes outside of the run used since the last reading, as a share of one core's time."""
    frequency_mhz: NonNegativeFloat | None = None
    """Mean clock of the CPU's cores."""
    throttled: int | None = None
    """Number of times that the CPU was throttled for heat since it was started."""
    temperature_c: float | None = None
    """Highest temperature of the CPU's sensors."""
    memory_available_bytes: int | None = None
    """Available memory."""
    accelerator_mhz: NonNegativeFloat | None = None
    """Clock of the GPU."""
    accelerator_temperature_c: float | None = None
    """Temperature of the GPU."""
    thermal_state: Literal["nominal", "fair", "serious", "critical"] | None = None
    """Thermal state, reported by a phone."""
    low_power_mode: bool | None = None
    """Low power mode, reported by a phone."""
    battery_share: NonNegativeFloat | None = None
    """Charge of the battery, 0 to 1."""


class CaseSubject(_Part):
    """The model, layer or file that is timed."""

    kind: SubjectKind
    """An EfficientViM model, a peer from timm, a file, a mixer alone, or the calibration workload, whose time measures
    the speed of the machine."""
    name: str
    """Name in tables."""
    source: str
    """Name in timm, or path of the file."""
    weights: str
    """Origin of the weights; the word ``untrained`` marks untrained ones."""
    form: str
    """Changes made for inference."""
    parameters: int | None = None
    """Number of weights in the timed form."""
    paper: str | None = None
    """Row of the paper's tables."""


class Check(_Part):
    """Comparison of the case's output with its model's, before it is timed."""

    status: CheckStatus
    against: str
    """The reference that it was compared with, or the reason why it was not."""
    error: NonNegativeFloat | None = None
    """Largest difference of an output, relative to the largest output; on a phone, to the output's range."""
    tolerance: NonNegativeFloat | None = None
    """Largest allowed error."""


class ColdStart(_Part):
    """Time from a new process with its libraries loaded to the first output."""

    load_s: Seconds
    """Loading the model from its file."""
    first_prediction_s: Seconds
    """The first prediction, with compilation if the engine compiles."""


class Memory(_Part):
    """Memory of the process, or of the GPU."""

    peak_bytes: int
    """Peak memory while predicting."""
    before_bytes: int
    """Memory before the model was loaded."""
    of: Literal["process", "accelerator"]


class Attempt(_Part):
    """One trial of a batch."""

    batch: PositiveInt
    outcome: Literal["fits", "out of memory"]
    limit_bytes: int | None = None
    """Memory limit of the process, if it had one."""
    peak_bytes: int | None = None
    """Peak memory, if it could be measured."""


class Round(_Part):
    """Consecutive predictions. Rounds with the same index of all cases in a group follow each other."""

    index: int
    started_s: Seconds
    """Seconds since the run began."""
    samples_s: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
    """Time of each prediction of a batch in order, seconds."""


class Share(_Part):
    """One operation in an engine's own profile."""

    operation: str
    """Name that the engine reports."""
    operation_class: str
    """Class of the operation in breakdowns."""
    seconds: Seconds
    """Time in one prediction."""
    calls: int
    """Number of calls in one prediction."""


class Case(_Part):
    """One subject in one engine and one setting, with its samples."""

    id: str
    """Unique in the file, and equal in two files for the same case."""
    group: str
    """Cases whose rounds were interleaved, so that ratios between them are paired."""
    role: CaseRole = CaseRole.CASE
    """A control times another case of its group a second time; its id is that case's with the suffix ``, control``. A
    calibration workload is constant work."""
    subject: CaseSubject
    engine: str
    engine_version: str
    mode: str | None = None
    """How the engine computes, if it has a choice: the memory layout, a phone's compute units, the precision of floats
    in a quantised file."""
    setting: Literal["cpu", "gpu", "iphone"] | None = None
    """The paper's setting, if it is timed as there."""
    device: str
    precision: str
    threads: PositiveInt | None = None
    """Threads that the engine may use; absent if the engine decides."""
    height: PositiveInt
    width: PositiveInt
    batch: PositiveInt
    """Images in one timed prediction."""
    batch_asked: PositiveInt
    """Requested batch, before it was halved for lack of memory."""
    outcome: Outcome
    reason: str | None = None
    """Reason why there are no samples, or fewer than requested."""
    check: Check | None = None
    cold_start: ColdStart | None = None
    memory: Memory | None = None
    attempts: list[Attempt] = []
    warmup_s: Seconds = 0
    """Time of the warm-up before the first sample."""
    rounds: list[Round] = []
    breakdown: list[Share] | None = None

    @property
    def samples(self) -> list[float]:
        """All samples in order, seconds per batch."""
        return [sample for round_ in self.rounds for sample in round_.samples_s]


class ProtocolRecord(_Part):
    """The sampling protocol."""

    name: str
    """``robust`` or ``paper``; on a phone ``paper``, ``modelbench`` or ``sustained``."""
    seconds: Seconds
    """Minimum time of timed predictions of each case."""
    warmup_s: Seconds
    """Minimum warm-up before the first sample."""
    rounds: PositiveInt
    """Requested rounds."""
    seed: int
    """Seed of the order of the cases in each round."""
    budget_s: Seconds | None = None
    """Time after which no further round started."""
    deviations: list[str] = []
    """Values that are lower than the protocol's own."""


class Results(_Part):
    """The whole file."""

    schema_name: Literal["evim-deploy-latency"] = Field(alias="schema")
    schema_version: Literal[1]
    tool: str
    """Program that wrote the file, with its version."""
    created: datetime
    command: str | None = None
    """Command line of the run."""
    complete: bool
    """Whether every requested case was measured."""
    incomplete_because: str | None = None
    notes: list[str] = []
    """Requests that were left out, with the reasons."""
    host: Host
    protocol: ProtocolRecord
    readings: list[Reading] = []
    cases: list[Case] = Field(alias="contenders")

    @field_validator("cases")
    @classmethod
    def _ids_are_unique(cls, cases: list[Case]) -> list[Case]:
        ids = [case.id for case in cases]
        duplicate = next((id_ for id_ in ids if ids.count(id_) > 1), None)
        if duplicate is not None:
            raise ValueError(f"two cases have the id {duplicate!r}")
        return cases


def json_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of a results file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Results.model_json_schema(by_alias=True)}


def to_json(results: Results) -> str:
    """The text of the file, a line for each round and each reading, without unknown values."""
    return dump_json(results.model_dump(mode="json", by_alias=True, exclude_none=True))


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        BadInput: The file cannot be read, is truncated, is not a results file, or has a newer schema.
    """
    remedy = "Name a file that `evim-deploy bench -o` or the demo app wrote."
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"{path} is larger than any results file.", remedy)
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON, or only a part of it: {error}.", remedy) from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise BadInput(f"{path} is not a file of latency results.", remedy)
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadInput(
            f"{path} has the schema version {version}; this evim-deploy reads up to {SCHEMA_VERSION}.",
            "Upgrade evim-deploy: pip install --upgrade evim-deploy",
        )
    try:
        return Results.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(step) for step in first["loc"])
        raise BadInput(f"{path} breaks the schema of results at {field}: {first['msg']}.", remedy) from None


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n", "utf-8")
