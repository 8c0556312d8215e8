"""How cost grows with pixels, batch and threads: the paper's Figures 5 and C from own runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latency.report import words
from latency.report.clusters import Cluster
from latency.report.columns import figure, rate
from latency.report.entries import Entry
from latency.report.view import Cell, Column, Curve, Lines, Notes, Row, Table
from latency.statistics import growth

_X_LABELS = {"resolution": "side of the image in pixels", "batch": "images in a batch", "threads": "threads"}
_BY = {"resolution": "resolution", "batch": "batch", "threads": "threads"}
SUSPECT_FIGURES = "some of its figures are suspect"
_FIGURES = {"gpu": "The paper's Figure 5", "cpu": "The paper's Figure C", "iphone": "The paper's Figure C"}


@dataclass(frozen=True)
class Growth:
    """Of one contender over a sweep: seconds ~ pixels ** exponent; ``valid`` if all its figures are."""

    exponent: float
    valid: bool
    smallest: str
    largest: str
    sizes: int


def series(cluster: Cluster) -> dict[str, list[Entry]]:
    """The measured entries of a sweep by contender, in order."""
    found: dict[str, list[Entry]] = {}
    several = len({entry.file for entry in cluster.entries}) > 1
    for entry in cluster.entries:
        if entry.milliseconds and entry.sound:
            label = cluster.label(entry.contender)
            found.setdefault(f"{label}, {entry.machine}" if several else label, []).append(entry)
    return found


def exponents(cluster: Cluster) -> dict[str, Growth]:
    """How fast the time of an image grows with its pixels, by contender; of those with three sizes or more."""
    found = {}
    for label, entries in series(cluster).items():
        pixels = [float(entry.contender.height * entry.contender.width) for entry in entries]
        exponent = growth(pixels, [entry.milliseconds or 0 for entry in entries])
        if exponent is not None:
            ends = [words.size(entry.contender.height, entry.contender.width) for entry in (entries[0], entries[-1])]
            found[label] = Growth(exponent, all(entry.valid for entry in entries), ends[0], ends[1], len(entries))
    return found


def growth_table(cluster: Cluster) -> Table | None:
    """The exponents; None where no contender has enough sizes."""
    columns = (
        Column("model", "model", numeric=False),
        Column("exponent", "exponent of pixels"),
        Column("sizes", "resolutions"),
        Column("smallest", "from", numeric=False),
        Column("largest", "to", numeric=False),
    )
    notes = Notes()
    rows = tuple(
        Row(
            (
                Cell(label, label, notes=notes.refer([] if found.valid else [SUSPECT_FIGURES])),
                figure(found.exponent),
                Cell(str(found.sizes), found.sizes),
                Cell(found.smallest, found.smallest),
                Cell(found.largest, found.largest),
            )
        )
        for label, found in exponents(cluster).items()
    )
    caption = "Growth of the time of an image with its pixels, fitted on logarithmic axes: 1 is in proportion"
    return Table(caption, columns, rows, notes.texts) if rows else None


def lines(cluster: Cluster) -> Lines | None:
    """Time over the axis of a sweep, images in a second on a GPU; None where nobody has two points."""
    is_rate = cluster.place == "gpu"
    curves = []
    for label, timed in series(cluster).items():
        entries = [entry for entry in timed if _x(cluster.axis, entry)]
        xs = tuple(_x(cluster.axis, entry) for entry in entries)
        ys = tuple((rate(entry) if is_rate else entry.milliseconds) or math.nan for entry in entries)
        halved = tuple(entry.contender.batch != entry.contender.batch_asked for entry in entries)
        if len(set(xs)) > 1:
            curves.append(Curve(label, xs, ys, halved))
    if not curves:
        return None
    figures = _FIGURES.get(cluster.place, "") if cluster.axis == "resolution" else ""
    what = "images in a second" if is_rate else "milliseconds an image"
    caption = f"{words.sentence(f'{figures} from own runs') if figures else ''} {what.capitalize()} against "
    caption = f"{caption.strip()} {_BY[cluster.axis]}. {cluster.caption()}."
    if any(any(curve.hollow) for curve in curves):
        caption += " Hollow: in a smaller batch than asked for, as much as fits in memory."
    suspect = [entry for timed in series(cluster).values() for entry in timed if not entry.valid]
    if suspect:
        caption += f" {len(suspect)} of its figures are suspect: the table says which."
    return Lines(caption, _X_LABELS[cluster.axis], what, tuple(curves))


def _x(axis: str, entry: Entry) -> float:
    """Where a logarithmic axis has it; 0 is nowhere."""
    c = entry.contender
    known = {"resolution": math.sqrt(c.height * c.width), "batch": c.batch_asked, "threads": entry.threads or 0}
    return float(known[axis])
