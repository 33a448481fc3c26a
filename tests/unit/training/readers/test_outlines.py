from __future__ import annotations

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.readers.outlines import fill_polygons, paint_segmentation
from training.rle import encode_rle

masks = arrays(
    np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()
)


def uncompressed(mask: np.ndarray) -> list[int]:
    """Run lengths in column-major order, the first of zeros, written out plainly."""
    counts, value, length = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    return [*counts, length]


@given(masks)
def test_run_lengths_of_either_kind_are_column_major(mask: np.ndarray) -> None:
    rows, columns = mask.shape
    size = [rows, columns]
    listed = {"size": size, "counts": uncompressed(mask)}
    packed = {"size": size, "counts": encode_rle(mask).counts}

    for segmentation in (listed, packed):
        painted = paint_segmentation(segmentation, rows=rows, columns=columns)
        assert np.array_equal(painted, mask)
    theirs = coco.frPyObjects(listed, rows, columns)
    assert np.array_equal(coco.decode(theirs).astype(bool), mask)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10), st.integers(1, 10))
def test_a_rectangle_of_whole_pixels_is_filled_exactly(
    left: int, top: int, width: int, height: int
) -> None:
    right, bottom = left + width, top + height
    polygon = [left, top, right, top, right, bottom, left, bottom]

    mask = fill_polygons([polygon], rows=20, columns=20)

    wanted = np.zeros((20, 20), bool)
    wanted[top:bottom, left:right] = True
    assert np.array_equal(mask, wanted)


@given(st.lists(st.floats(-5, 35), min_size=8, max_size=16))
def test_polygons_agree_with_a_test_of_every_pixel_centre(values: list[float]) -> None:
    polygon = values[: len(values) // 2 * 2]
    points = np.reshape(polygon, (-1, 2))

    mask = fill_polygons([polygon], rows=12, columns=30)

    for row, column in ((0, 0), (3, 7), (5, 20), (8, 2), (11, 29)):
        x, y, inside = column + 0.5, row + 0.5, False
        for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if (ay <= y) != (by <= y) and ax + (y - ay) / (by - ay) * (bx - ax) < x:
                inside = not inside
        assert mask[row, column] == inside


def test_a_large_polygon_is_nearly_that_of_an_independent_painter() -> None:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 30 + 6 * np.sin(5 * angles)
    points = np.stack([50 + radius * np.cos(angles), 45 + radius * np.sin(angles)], 1)
    polygon = points.ravel().tolist()

    ours = fill_polygons([polygon], rows=90, columns=100)

    theirs = coco.decode(coco.frPyObjects([polygon], 90, 100)[0]).astype(bool)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


def test_neighbouring_polygons_share_no_pixel_and_leave_none_out() -> None:
    left = [0, 0, 7.3, 0, 2.9, 10, 0, 10]
    right = [7.3, 0, 12, 0, 12, 10, 2.9, 10]

    one = fill_polygons([left], rows=10, columns=12)
    other = fill_polygons([right], rows=10, columns=12)

    assert not (one & other).any()
    assert (one | other).all()


def test_the_parts_of_one_annotation_are_united() -> None:
    one, other = [0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 6, 4, 6]

    together = paint_segmentation([one, other], rows=8, columns=8)

    assert together.sum() == 8
    assert together[:2, :2].all()
    assert together[4:6, 4:6].all()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [1, 2, 3, 4, 5, 6],
        "outline",
        {"size": [4, 5], "counts": [16]},
        {"size": [4, 4], "counts": [15]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": [1.5]},
        {"size": [4, 4], "counts": None},
        {"size": [4, 4], "counts": "zz"},
        {},
    ],
)
def test_what_is_no_outline_is_refused(segmentation: object) -> None:
    with pytest.raises(ValueError, match=r"polygon|segmentation|run|fill"):
        paint_segmentation(segmentation, rows=4, columns=4)
