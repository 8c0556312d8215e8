"""The closed sets of words that plans, results files and workers share. Their values are those of the results file."""

from __future__ import annotations

from enum import StrEnum


class SubjectKind(StrEnum):
    """The kinds of things that can be timed."""

    MODEL = "model"
    PEER = "peer"
    ARTIFACT = "artifact"
    MIXER = "mixer"
    CALIBRATION = "yardstick"


class CaseRole(StrEnum):
    """The purpose of a case in its group."""

    CASE = "contender"
    CONTROL = "control"
    CALIBRATION = "yardstick"


class Outcome(StrEnum):
    """The way that the measurement of a case ended."""

    MEASURED = "measured"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    NOT_RUN = "not run on this host"
    NOT_REACHED = "not reached"


class CheckStatus(StrEnum):
    """The result of comparing a case's output with the output of its original model."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_CHECKED = "not checked"


class MemoryLayout(StrEnum):
    """The order of the axes of images and weights in memory."""

    CHANNELS_FIRST = "channels-first"
    CHANNELS_LAST = "channels-last"
