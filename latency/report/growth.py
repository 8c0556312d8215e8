"""The growth of the time with pixels, batch and threads: the paper's Figures 5 and C from own runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latency.report import formatting
from latency.report.clusters import Cluster
from latency.report.columns import figure, rate
from latency.report.entries import ReportEntry
from latency.report.view import Cell, Column, Curve, Lines, Notes, Row, Table
from latency.statistics import growth_exponent

_X_LABELS = {"resolution": "side of the image in pixels", "batch": "images in a batch", "threads": "threads"}
_BY = {"resolution": "resolution", "batch": "batch", "threads": "threads"}
SUSPECT_FIGURES = "some of its figures are suspect"
_FIGURES = {"gpu": "The paper's Figure 5", "cpu": "The paper's Figure C", "iphone": "The paper's Figure C"}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The growth of a case over a sweep: seconds ~ pixels ** exponent.

    Attributes:
        exponent: The fitted exponent.
        valid: Whether all its figures are valid.
        smallest: Smallest image size, formatted.
        largest: Largest image size, formatted.
        sizes: Number of image sizes.
    """

    exponent: float
    valid: bool
    smallest: str
    largest: str
    sizes: int


def series(cluster: Cluster) -> dict[str, list[ReportEntry]]:
    """The usable entries of a sweep by case, in order."""
    entries: dict[str, list[ReportEntry]] = {}
    several = len({entry.file for entry in cluster.entries}) > 1
    for entry in cluster.entries:
        if entry.milliseconds and entry.usable:
            label = cluster.label(entry.case)
            entries.setdefault(f"{label}, {entry.machine}" if several else label, []).append(entry)
    return entries


def exponents(cluster: Cluster) -> dict[str, Growth]:
    """The growth of each case with the pixels of an image; at least three sizes are required."""
    growths = {}
    for label, entries in series(cluster).items():
        pixels = [float(entry.case.height * entry.case.width) for entry in entries]
        exponent = growth_exponent(pixels, [entry.milliseconds or 0 for entry in entries])
        if exponent is not None:
            ends = [formatting.size(entry.case.height, entry.case.width) for entry in (entries[0], entries[-1])]
            growths[label] = Growth(
                exponent=exponent,
                valid=all(entry.valid for entry in entries),
                smallest=ends[0],
                largest=ends[1],
                sizes=len(entries),
            )
    return growths


def growth_table(cluster: Cluster) -> Table | None:
    """A table of the exponents; None if no case has enough sizes."""
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
                Cell(label, label, notes=notes.refer([] if growth.valid else [SUSPECT_FIGURES])),
                figure(growth.exponent),
                Cell(str(growth.sizes), growth.sizes),
                Cell(growth.smallest, growth.smallest),
                Cell(growth.largest, growth.largest),
            )
        )
        for label, growth in exponents(cluster).items()
    )
    caption = "Growth of the time of an image with its pixels, fitted on logarithmic axes: 1 is in proportion"
    return Table(caption, columns, rows, notes.texts) if rows else None


def lines(cluster: Cluster) -> Lines | None:
    """A plot of the time over the axis of a sweep, on a GPU of images per second; None if no case has two points."""
    is_rate = cluster.setting == "gpu"
    curves = []
    for label, measured in series(cluster).items():
        entries = [entry for entry in measured if _x(cluster.axis, entry)]
        xs = tuple(_x(cluster.axis, entry) for entry in entries)
        ys = tuple((rate(entry) if is_rate else entry.milliseconds) or math.nan for entry in entries)
        halved = tuple(entry.case.batch != entry.case.batch_asked for entry in entries)
        if len(set(xs)) > 1:
            curves.append(Curve(label, xs, ys, halved))
    if not curves:
        return None
    figures = _FIGURES.get(cluster.setting, "") if cluster.axis == "resolution" else ""
    quantity = "images per second" if is_rate else "milliseconds per image"
    caption = f"{formatting.sentence(f'{figures} from own runs') if figures else ''} {quantity.capitalize()} against "
    caption = f"{caption.strip()} {_BY[cluster.axis]}. {cluster.caption()}."
    if any(any(curve.hollow) for curve in curves):
        caption += " Hollow: the largest batch that fits in memory, smaller than requested."
    suspect = [entry for measured in series(cluster).values() for entry in measured if not entry.valid]
    if suspect:
        caption += f" {len(suspect)} of its figures are suspect: the table says which."
    return Lines(caption, _X_LABELS[cluster.axis], quantity, tuple(curves))


def _x(axis: str, entry: ReportEntry) -> float:
    """The value on a logarithmic axis; 0 if there is none."""
    c = entry.case
    values = {"resolution": math.sqrt(c.height * c.width), "batch": c.batch_asked, "threads": entry.threads or 0}
    return float(values[axis])
