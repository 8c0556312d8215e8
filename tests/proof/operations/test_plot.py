"""The plot of an artifact's errors shows the report's values."""

from __future__ import annotations

import sys
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evim_deploy.common.errors import NotInstalled
from evim_deploy.proof.operations.plot import plot_layers
from evim_deploy.proof.operations.report import OpReport, OpsReport

PLACES = (
    "input",
    "stem",
    "stem",
    "stage 0, block 0",
    "stage 0, block 0, mixer",
    "stage 0, down-sampling",
    "head",
    "output",
)


def report(**special: OpReport) -> OpsReport:
    """A report of eight operations, some of them replaced: ``at3=...``."""
    layers = [
        OpReport(
            name=f"name.{i}",
            op="conv",
            place=place,
            type="Conv",
            fused=(),
            cumulative=10.0 ** (i - 8),
            local=1e-7,
            bound=5e-7,
            cause="",
        )
        for i, place in enumerate(PLACES)
    ]
    for key, layer in special.items():
        layers[int(key.removeprefix("at"))] = layer
    return OpsReport(stages=(), ops=tuple(layers), unmatched=(), file_operations=len(layers))


def layer(index: int, cumulative: float, local: float, cause: str = "") -> OpReport:
    return OpReport(
        name=f"name.{index}",
        op="conv",
        place=PLACES[index],
        type="Conv",
        fused=(),
        cumulative=cumulative,
        local=local,
        bound=5e-7,
        cause=cause,
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved; they are saved as usual."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig

    def kept(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures


def texts(figure: Any) -> str:
    (axes,) = figure.axes
    result = [*axes.texts, *axes.get_xticklabels(), axes.title, axes._left_title, axes._right_title]
    return "\n".join(each.get_text() for each in (*result, *figure.legends[0].get_texts()))


def lines(figure: Any) -> dict[str, tuple[list[float], list[float]]]:
    """Depth and height of the drawn points, by label."""
    return {
        line.get_label(): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in figure.axes[0].lines
    }


def test_a_sound_artifact(tmp_path: Path, drawn: list[Any]) -> None:
    path = tmp_path / "sound.png"
    plot_layers(report(), "m1.onnx", True, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 1000
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50  # not a blank sheet
    (figure,) = drawn
    result = lines(figure)
    assert set(result) == {"cumulative error", "rounding error bound", "local error"}
    assert result["cumulative error"][1] == pytest.approx([10.0 ** (i - 8) for i in range(8)])
    assert result["local error"] == (list(range(8)), pytest.approx([1e-7] * 8))
    assert figure.axes[0].get_yscale() == "log"
    words = texts(figure)
    assert "m1.onnx" in words
    assert "UNTRAINED" not in words


def test_parts_of_the_model_are_named_once_each(tmp_path: Path, drawn: list[Any]) -> None:
    """A mixer belongs to its block, the input to the stem, the output to the head."""
    plot_layers(report(), "m1.onnx", True, tmp_path / "plot.png")
    labels = [each.get_text() for each in drawn[0].axes[0].get_xticklabels()]
    assert labels == ["stem", "stage 0\nblock 0", "stage 0\ndown", "head"]


def test_the_first_divergence_is_pointed_at(tmp_path: Path, drawn: list[Any]) -> None:
    wrong = layer(4, 0.3, 0.2, "mismatched weights: 1 of 9 values of the kernel differs, by 2")
    later = layer(6, 0.3, 0.1, "no known cause")
    plot_layers(report(at4=wrong, at6=later), "m1.onnx", False, tmp_path / "plot.png")
    words = texts(drawn[0]).replace("\n", " ")
    assert "name.4 (conv): mismatched weights: 1 of 9 values of the kernel differs, by 2" in words
    assert "no known cause" not in words
    assert "UNTRAINED weights" in words
    result = lines(drawn[0])
    assert result["local error of a divergence"] == ([4, 6], [0.2, 0.1])
    assert 4 not in result["local error"][0]


def test_what_is_not_finite_or_without_error_is_drawn_too(tmp_path: Path, drawn: list[Any]) -> None:
    lost = layer(3, inf, inf, "overflow")
    plot_layers(
        report(at2=layer(2, 0.0, 0.0), at3=lost, at4=layer(4, inf, 0.0)), "m1.onnx", True, tmp_path / "plot.png"
    )
    result = lines(drawn[0])
    assert result["not finite"][0] == [3, 4]
    assert 2 not in result["local error"][0]
    assert np.isnan(result["cumulative error"][1][3])
    assert result["cumulative error"][1][2] > 0


def test_a_file_where_every_operation_is_lost(tmp_path: Path) -> None:
    lost = {f"at{i}": layer(i, inf, inf, "overflow") for i in range(8)}
    plot_layers(report(**lost), "m1.onnx", True, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_without_matplotlib_the_pip_command_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(NotInstalled) as error:
        plot_layers(report(), "m1.onnx", True, tmp_path / "plot.png")
    assert error.value.remedy == 'pip install "evim-deploy[plot]"'
    assert not (tmp_path / "plot.png").exists()
