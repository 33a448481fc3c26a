"""The judge of a viewer's canvas sees what is wrong, and only that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders.canvas import (
    corner_points_lps,
    intersection_over_union,
    project,
    shown_segments,
)

RED, BLUE = (220, 50, 47), (38, 139, 210)
SCALE, LEFT, TOP = 2.23, 17.6, 1.1
POINTS = ((LEFT, TOP), (LEFT + 100 * SCALE, TOP), (LEFT, TOP + 100 * SCALE))
SHAPE = (300, 320)


def _ellipse(row: float, column: float) -> np.ndarray:
    rows, columns = np.mgrid[:128, :128]
    return ((rows - row) / 20) ** 2 + ((columns - column) / 12) ** 2 < 1


def _paint(path: Path, mask: np.ndarray, colour: tuple[int, ...]) -> Path:
    grey = np.random.default_rng(1).integers(0, 255, (*SHAPE, 1)).repeat(3, axis=2)
    shown = project(mask, POINTS, SHAPE)
    grey[shown] = grey[shown] * 0.5 + np.array(colour) * 0.5
    Image.fromarray(grey.astype(np.uint8)).save(path)
    return path


def test_a_right_overlay_agrees_wholly(tmp_path: Path) -> None:
    picture = _paint(tmp_path / "right.png", _ellipse(60, 60), RED)

    shown = shown_segments(picture, {1: RED, 2: BLUE})

    expected = project(_ellipse(60, 60), POINTS, SHAPE)
    assert intersection_over_union(shown[1], expected) == 1
    assert not shown[2].any()


@pytest.mark.parametrize(
    ("mask", "colour"),
    [
        pytest.param(_ellipse(61, 60), RED, id="a row too low"),
        pytest.param(_ellipse(60, 60).T, RED, id="transposed"),
        pytest.param(np.zeros((128, 128), bool), RED, id="not drawn"),
        pytest.param(_ellipse(60, 60), BLUE, id="the other segment's colour"),
    ],
)
def test_a_wrong_overlay_does_not_agree(
    tmp_path: Path, mask: np.ndarray, colour: tuple[int, ...]
) -> None:
    picture = _paint(tmp_path / "wrong.png", mask, colour)

    shown = shown_segments(picture, {1: RED, 2: BLUE})

    expected = project(_ellipse(60, 60), POINTS, SHAPE)
    assert intersection_over_union(shown[1], expected) < 0.95


def test_corner_points_follow_the_orientation_of_rows_and_columns() -> None:
    points = corner_points_lps((1, 2, 3), (0, 1, 0, 0, 0, -1), (2.0, 0.5), steps=10)

    assert points == [[1, 2, 3], [1, 7, 3], [1, 2, -17]]
