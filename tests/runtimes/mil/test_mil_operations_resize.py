"""Resizing operations of MIL, against the sampling grids of their specification."""

from __future__ import annotations

import numpy as np
import pytest
from mil_cases import Array, Case, Cases, Draw, check, evaluate, of


def grid(mode: str, old: int, new: int) -> list[float]:
    """Return the sampling points of an axis by the formulas of the specification."""
    points = []
    for i in range(new):
        if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
            spacing = (old - 1) / (new - 1) if new > 1 else 0
            point = (old - 1) / 2 if new == 1 and mode == "ALIGN_CORNERS" else i * spacing
        elif mode == "DEFAULT":
            spacing = (old - old / new) / (new - 1) if new > 1 else 0
            point = i * spacing
        elif mode == "OFFSET_CORNERS":
            delta = max(1, old - 1) / new
            spacing = ((new - 1) * delta) / (new - 1) if new > 1 else 0
            point = 0.5 * delta + i * spacing
        else:  # UNALIGN_CORNERS
            spacing = old / new
            point = i * spacing + 0.5 * spacing - 0.5
        points.append(min(old - 1, max(0, point)))
    return points


def interpolated(x: Array, mode: str, *sides: int) -> Array:
    """Interpolate the last axes linearly."""
    for axis, new in enumerate(sides, start=-len(sides)):
        old = x.shape[axis]
        x = np.apply_along_axis(lambda row, old=old, new=new: np.interp(grid(mode, old, new), range(old), row), axis, x)
    return x


MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def resize_bilinear(draw: Draw) -> Case:
    x, height, width = draw.array(*draw.shape(3, 4)), draw.integer(1, 9), draw.integer(1, 9)
    mode = draw.choice(None, *MODES)
    y = interpolated(x, mode or "DEFAULT", height, width)
    return of(y, x=x, target_size_height=height, target_size_width=width, sampling_mode=mode)


def areas(x: Array, *sides: int) -> Array:
    """Return the element whose area, [j, j + 1) of the old axis, has the centre of the new one."""
    for axis, new in enumerate(sides, start=-len(sides)):
        x = np.take(x, [int((i + 0.5) * x.shape[axis] / new + 1e-9) for i in range(new)], axis)
    return x


def resize_nearest_neighbor(draw: Draw) -> Case:
    x, height, width = draw.array(*draw.shape(3, 4)), draw.integer(1, 9), draw.integer(1, 9)
    return of(areas(x, height, width), x=x, target_size_height=height, target_size_width=width)


def resize(draw: Draw) -> Case:
    """Draw a resizing of the last axes to the last sides of a shape; a side of 0 keeps its axis."""
    x, count, kind = draw.array(*draw.shape(3, 4)), draw.integer(1, 2), draw.choice("LINEAR", "NEAREST_NEIGHBOR")
    mode = draw.choice(*MODES) if kind == "LINEAR" else "DEFAULT"
    wanted = [draw.choice(0, draw.integer(1, 9)) for _ in range(count)]
    sides = [new or old for new, old in zip(wanted, x.shape[-count:], strict=True)]
    y = interpolated(x, mode, *sides) if kind == "LINEAR" else areas(x, *sides)
    shape = [1] * draw.integer(0, x.ndim - count) + wanted
    given = {"resized_dims": np.uint32(count).item(), "interpolation_mode": kind, "sampling_mode": mode}
    return of(y, "iOS17", x=x, shape=shape, **given)


def upsample_nearest_neighbor(draw: Draw) -> Case:
    x, high, wide = draw.array(*draw.shape(3, 4)), draw.choice(1, 2, 3, 2.0), draw.choice(1, 2, 3.0)
    y = x.repeat(int(high), -2).repeat(int(wide), -1)
    return of(y, x=x, scale_factor_height=high, scale_factor_width=wide)


def upsample_bilinear(draw: Draw) -> Case:
    x, high, wide = draw.array(*draw.shape(3, 4)), draw.choice(1, 2, 2.5), draw.choice(1, 3, 1.5)
    corners, centres, mode = draw.choice(
        (None, None, "STRICT_ALIGN_CORNERS"),
        (True, None, "STRICT_ALIGN_CORNERS"),
        (False, None, "UNALIGN_CORNERS"),
        (False, True, "UNALIGN_CORNERS"),
        (False, False, "DEFAULT"),
    )
    y = interpolated(x, mode, int(x.shape[-2] * high), int(x.shape[-1] * wide))
    given = {"align_corners": corners, "half_pixel_centers": centres}
    return of(y, "iOS16", x=x, scale_factor_height=high, scale_factor_width=wide, **given)


CASES: Cases = {
    "resize": resize,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("op", CASES)
def test_operation_samples_its_grid(op: str, part: int) -> None:
    check(op, CASES[op], part)


@pytest.mark.parametrize(
    ("mode", "new", "expected"),
    [  # the examples of the specification, for an axis of two
        ("UNALIGN_CORNERS", 5, [0.0, 0.1, 0.5, 0.9, 1.0]),
        ("STRICT_ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("DEFAULT", 5, [0.0, 0.4, 0.8, 1.0, 1.0]),
        ("OFFSET_CORNERS", 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("UNALIGN_CORNERS", 6, [0.0, 0.0, 0.33, 0.67, 1.0, 1.0]),
        ("STRICT_ALIGN_CORNERS", 6, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ("DEFAULT", 6, [0.0, 0.33, 0.67, 1.0, 1.0, 1.0]),
        ("OFFSET_CORNERS", 6, [0.08, 0.25, 0.42, 0.58, 0.75, 0.92]),
    ],
)
def test_the_specifications_own_examples(mode: str, new: int, expected: list[float]) -> None:
    given = {"target_size_height": 1, "target_size_width": new, "sampling_mode": mode}
    (y,) = evaluate("resize_bilinear", of(0, x=np.array([[[0.0, 1.0]]]), **given))
    assert y.ravel() == pytest.approx(expected, abs=0.005)
    assert grid(mode, 2, new) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("op", "given"),
    [
        ("upsample_nearest_neighbor", {"scale_factor_height": 1, "scale_factor_width": 1.6}),
        ("resize", {"shape": [8], "resized_dims": 1, "interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": "X"}),
        ("upsample_bilinear", {"align_corners": True, "half_pixel_centers": True}),
    ],
)
def test_a_case_that_the_specification_leaves_open_is_refused(op: str, given: dict[str, object]) -> None:
    with pytest.raises(NotImplementedError):
        evaluate(op, of(0, x=np.zeros((1, 3, 4)), **given))


def test_a_size_is_checked_once() -> None:
    """A feature map of many channels, as in EfficientFormerV2, is a small part of the limit."""
    x = np.zeros((1, 384, 7, 7))
    given = {"target_size_height": 256, "target_size_width": 256, "sampling_mode": "UNALIGN_CORNERS"}
    assert evaluate("resize_bilinear", of(0, x=x, **given))[0].shape == (1, 384, 256, 256)
