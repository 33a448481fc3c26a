from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.readers.boxes import shares_to_xyxy, xywh_to_xyxy, xyxy_within

sides = st.floats(0.01, 5_000, allow_nan=False)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[int, int, tuple[float, float, float, float]]:
    """Draw rows, columns and the corners of a box inside."""
    rows, columns = draw(st.integers(1, 4_000)), draw(st.integers(1, 4_000))
    left = draw(st.floats(0, columns * 0.9))
    top = draw(st.floats(0, rows * 0.9))
    right = draw(st.floats(left + columns * 0.01, columns))
    bottom = draw(st.floats(top + rows * 0.01, rows))
    return rows, columns, (left, top, right, bottom)


@given(pictures())
def test_corners_survive_left_top_width_height(
    picture: tuple[int, int, tuple[float, float, float, float]],
) -> None:
    rows, columns, (left, top, right, bottom) = picture

    box = xywh_to_xyxy(
        (left, top, right - left, bottom - top), rows=rows, columns=columns
    )

    assert box == pytest.approx((left, top, right, bottom), rel=1e-9, abs=1e-6)


@given(pictures())
def test_corners_survive_shares_of_the_picture(
    picture: tuple[int, int, tuple[float, float, float, float]],
) -> None:
    rows, columns, (left, top, right, bottom) = picture
    shares = (left / columns, top / rows, right / columns, bottom / rows)

    box = shares_to_xyxy(shares, rows=rows, columns=columns)

    assert box == pytest.approx((left, top, right, bottom), rel=1e-9, abs=1e-6)


@given(pictures(), st.floats(0.0, 1.5), st.floats(0.0, 1.5))
def test_a_rounded_box_is_cut_at_the_border(
    picture: tuple[int, int, tuple[float, float, float, float]], low: float, high: float
) -> None:
    rows, columns, _ = picture

    box = xyxy_within(
        (-low, -low, columns + high, rows + high), rows=rows, columns=columns
    )

    assert box == (0.0, 0.0, float(columns), float(rows))


@given(sides, sides)
def test_without_a_size_nothing_is_cut(width: float, height: float) -> None:
    assert xywh_to_xyxy((-7, -8, width, height))[:2] == (-7, -8)


@pytest.mark.parametrize(
    "values",
    [
        (1, 2, 3),
        (1, 2, 3, 4, 5),
        (1, 1, 1, 5),
        (1, 5, 4, 2),
        (math.nan, 1, 2, 3),
        (1, 1, math.inf, 3),
        (0, 0, 12, 5),
        (-2, 0, 5, 5),
        (10.5, 0, 11, 5),
    ],
)
def test_an_impossible_box_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a box"):
        xyxy_within(values, rows=10, columns=10)


def test_other_spellings_refuse_other_counts() -> None:
    with pytest.raises(ValueError, match="four"):
        xywh_to_xyxy((1, 2, 3))
    with pytest.raises(ValueError, match="four"):
        shares_to_xyxy((1, 2, 3), rows=1, columns=1)
    with pytest.raises(ValueError, match="empty"):
        xywh_to_xyxy((1, 2, -3, 4))
