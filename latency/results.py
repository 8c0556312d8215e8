"""A results file: what was timed, on what, under which conditions, with every sample.

The file holds measurements alone. Whatever is said about them, a ratio, an interval, a verdict, is computed
from them when it is asked for. ``results.schema.json`` beside this module is its JSON Schema, which the
phone app writes by too.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError, field_validator

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import dump_json, parse_json

SCHEMA: Final = "evim-deploy-latency"
SCHEMA_VERSION: Final = 1
SCHEMA_FILE = Path(__file__).with_name("results.schema.json")

LARGEST_FILE = 1 << 28
"""Bytes of a results file that is read; a day of samples takes a tenth of it."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """A part of the file: what it does not name is refused, and nothing in it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True)


class Host(_Part):
    """The machine, in words."""

    system: str
    """Operating system and its version."""
    machine: str
    """The computer's or phone's model, where it tells one."""
    processor: str
    """The processor's name."""
    cores: PositiveInt
    """Logical cores that the process may use."""
    memory_bytes: PositiveInt | None = None
    """Memory that the process may use."""
    accelerator: str | None = None
    """GPU and its driver, where there is one."""
    packages: dict[str, str] = {}
    """Versions by the name of the package."""


class Reading(_Part):
    """What the machine told of itself at one moment; what it does not tell is left out."""

    at_s: Seconds
    """Seconds since the run began."""
    phase: Literal["before", "during", "after"]
    load_1m: NonNegativeFloat | None = None
    """Processes that ran or waited, averaged over a minute."""
    steal_share: NonNegativeFloat | None = None
    """Share of the processor's time since the last reading that the hypervisor gave to others."""
    others_share: NonNegativeFloat | None = None
    """Share of one core's time since the last reading that processes which are not part of the run took."""
    frequency_mhz: NonNegativeFloat | None = None
    """Of the processor's cores, the mean."""
    throttled: int | None = None
    """Times that the processor was slowed down for heat since it was started."""
    temperature_c: float | None = None
    """The hottest sensor of the processor."""
    memory_available_bytes: int | None = None
    """Memory that could still be given out."""
    accelerator_mhz: NonNegativeFloat | None = None
    """Clock of the GPU."""
    accelerator_temperature_c: float | None = None
    """Temperature of the GPU."""
    thermal_state: Literal["nominal", "fair", "serious", "critical"] | None = None
    """As a phone tells it."""
    low_power_mode: bool | None = None
    """As a phone tells it."""
    battery_share: NonNegativeFloat | None = None
    """Charge of the battery, 0 to 1."""


class Subject(_Part):
    """What is timed."""

    kind: Literal["model", "peer", "artifact", "mixer", "yardstick"]
    """One of EfficientViM, a peer from timm, a file, a mixer alone, or the fixed work that tells how fast
    the machine is."""
    name: str
    """As tables call it."""
    source: str
    """The name in timm, or the file."""
    weights: str
    """Where they come from; untrained ones are called so."""
    form: str
    """What was done to it for inference."""
    parameters: int | None = None
    """Weights that it has as it is timed."""
    paper: str | None = None
    """The row in the paper's tables that it stands beside."""


class Check(_Part):
    """Whether the contender computes what its model does, found out before it was timed."""

    status: Literal["equal", "different", "not checked"]
    against: str
    """What it was compared with, or why it was not."""
    error: NonNegativeFloat | None = None
    """Largest difference of an output, as a share of the largest output; a phone's, of the output's range."""
    tolerance: NonNegativeFloat | None = None
    """What the error may come to."""


class ColdStart(_Part):
    """From a fresh process, its libraries loaded, to an answer."""

    load_s: Seconds
    """The model, from its file or its constructor, to memory."""
    first_prediction_s: Seconds
    """The first prediction, compilation included where the engine compiles."""


class Memory(_Part):
    """Memory of the process, or of the GPU."""

    peak_bytes: int
    """Most that was held while predicting."""
    before_bytes: int
    """What was held before the model was loaded."""
    of: Literal["process", "accelerator"]


class Attempt(_Part):
    """One batch that was tried."""

    batch: PositiveInt
    outcome: Literal["fits", "out of memory"]
    limit_bytes: int | None = None
    """Memory that the process was allowed, where it was limited."""
    peak_bytes: int | None = None
    """Most that it held, where it could still tell."""


class Round(_Part):
    """Predictions one after another; round r of all contenders of a group were taken next to each other."""

    index: int
    started_s: Seconds
    """Seconds since the run began."""
    samples_s: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
    """Seconds that each prediction of a batch took, in order."""


class Share(_Part):
    """One operation in an engine's own profile."""

    operation: str
    """As the engine calls it."""
    operation_class: str
    """One of the classes that breakdowns are drawn by."""
    seconds: Seconds
    """In one prediction."""
    calls: int
    """In one prediction."""


class Contender(_Part):
    """One subject in one engine and one setting, and what came of it."""

    id: str
    """Unique in the file, and the same in two files that time the same thing."""
    group: str
    """Those whose rounds were taken together, so that ratios between them are paired."""
    role: Literal["contender", "control", "yardstick"] = "contender"
    """A control times another contender of its group once more, and is called like it with ``, control`` after
    the name; a yardstick is work that never changes."""
    subject: Subject
    engine: str
    engine_version: str
    mode: str | None = None
    """How the engine computes, where it has a choice: the layout in memory, a phone's compute units, what it computes
    the floats of a quantised file in."""
    setting: Literal["cpu", "gpu", "iphone"] | None = None
    """The paper's setting that it stands beside."""
    device: str
    precision: str
    threads: PositiveInt | None = None
    """Threads that the engine may use; left out where it decides."""
    height: PositiveInt
    width: PositiveInt
    batch: PositiveInt
    """Images in one prediction, as it was timed."""
    batch_asked: PositiveInt
    """Before it was halved for memory."""
    outcome: Literal["measured", "out of memory", "failed", "not run on this host", "not reached"]
    reason: str | None = None
    """Why there are no samples, or fewer than asked for."""
    check: Check | None = None
    cold_start: ColdStart | None = None
    memory: Memory | None = None
    attempts: list[Attempt] = []
    warmup_s: Seconds = 0
    """Time predicted before the first sample."""
    rounds: list[Round] = []
    breakdown: list[Share] | None = None

    @property
    def samples(self) -> list[float]:
        """Every sample in order, seconds of a batch."""
        return [sample for round_ in self.rounds for sample in round_.samples_s]


class Protocol(_Part):
    """How samples were taken."""

    name: str
    """``robust`` or ``paper``; a phone's is ``paper``, ``modelbench`` or ``sustained``."""
    seconds: Seconds
    """Least time of timed predictions of each contender."""
    warmup_s: Seconds
    """Least time of predictions before the first sample."""
    rounds: PositiveInt
    """Rounds asked for."""
    seed: int
    """Of the order of the contenders in each round."""
    budget_s: Seconds | None = None
    """Time after which no further round was begun."""
    deviations: list[str] = []
    """In what the run departs from the protocol's own figures."""


class Results(_Part):
    """The whole file."""

    schema_name: Literal["evim-deploy-latency"] = Field(alias="schema")
    schema_version: Literal[1]
    tool: str
    """Program and version that wrote it."""
    created: datetime
    command: str | None = None
    """The command line that measured it."""
    complete: bool
    """Whether everything that was asked for was measured."""
    incomplete_because: str | None = None
    notes: list[str] = []
    """What was asked for and left out, and why."""
    host: Host
    protocol: Protocol
    readings: list[Reading] = []
    contenders: list[Contender]

    @field_validator("contenders")
    @classmethod
    def _ids_are_unique(cls, contenders: list[Contender]) -> list[Contender]:
        ids = [contender.id for contender in contenders]
        twice = next((id_ for id_ in ids if ids.count(id_) > 1), None)
        if twice is not None:
            raise ValueError(f"two contenders have the id {twice!r}")
        return contenders


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a results file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Results.model_json_schema(by_alias=True)}


def to_json(results: Results) -> str:
    """The file's text, a line for each round and each reading; what is not known is left out of it."""
    return dump_json(results.model_dump(mode="json", by_alias=True, exclude_none=True))


def read_results(path: Path) -> Results:
    """A results file.

    Raises:
        BadInput: It cannot be read, is truncated, is no results file, or is of a newer schema.
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
        raise BadInput(f"{path} is no file of latency results.", remedy)
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadInput(
            f"{path} is of schema version {version}; this evim-deploy reads up to {SCHEMA_VERSION}.",
            "Upgrade evim-deploy: pip install --upgrade evim-deploy",
        )
    try:
        return Results.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise BadInput(f"{path} breaks the schema of results at {place}: {first['msg']}.", remedy) from None


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n", "utf-8")
