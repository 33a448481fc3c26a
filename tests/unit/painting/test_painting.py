"""Pictures hold what they must say, in their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.fonts import has_letter
from dicom_node.painting import Layer, paint, paint_text

RED = (255, 0, 0)


def _paint(**options: object) -> np.ndarray:
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 5:10, 10:20] = True
    values: dict[str, object] = {
        "modality": "CT",
        "pixel_aspect": 1.0,
        "title": "CT, frame 1 of 1",
        "limits": (0.0, 100.0),
        "side": 600,
    }
    picture = paint(
        np.full((20, 30), 50.0), [Layer("kidney", RED, mask)], **{**values, **options}
    )  # type: ignore[arg-type]
    return np.asarray(picture).astype(int)


def test_the_region_is_outlined_where_it_is() -> None:
    pixels = _paint()

    assert pixels.shape == (400, 1030, 3)
    is_red = (pixels[:, :600] == RED).all(axis=2)
    rows, columns = np.nonzero(is_red)
    assert (rows.min(), rows.max()) == (100, 199)
    assert (columns.min(), columns.max()) == (200, 399)
    assert pixels[150, 300].tolist() == pytest.approx([176, 79, 79], abs=1)
    assert (np.ptp(pixels[300, :250], axis=1) == 0).all()  # grey where nothing is


def test_a_picture_keeps_true_proportions() -> None:
    assert _paint(pixel_aspect=3.0).shape[:2] == (600, 730)


def test_limits_decide_what_is_white() -> None:
    assert _paint(limits=(0.0, 50.0))[300, 100].tolist() == [255] * 3
    assert _paint(limits=(50.0, 90.0))[300, 100].tolist() == [0] * 3


def test_the_warning_is_on_the_slice_and_on_pages_of_text() -> None:
    is_yellow = (_paint()[:, :600] == (255, 210, 0)).all(axis=2)
    assert is_yellow[350:].sum() > 100
    (page,) = paint_text("Title", ["one line"])
    assert (np.asarray(page)[900:] == (255, 210, 0)).all(axis=2).sum() > 100


def test_long_lists_get_more_pages_and_lose_no_line() -> None:
    pages = paint_text("Title", [f"line {k}" for k in range(100)])
    alone = paint_text("Title", ["line"])

    assert len(pages) == 3
    assert len(alone) == 1
    assert {page.size for page in pages} == {(1024, 1024)}


def test_a_long_legend_makes_the_picture_higher() -> None:
    assert _paint(notes=("word " * 400,)).shape[0] > 600
    assert _paint(notes=("x" * 2000,)).shape[0] > 600  # a word of many lines


def test_letters_that_the_font_lacks_are_drawn_as_squares() -> None:
    assert [one for one in "aÄΩЖא≥→" if not has_letter(one)] == []
    assert not has_letter("肝")
    # The same picture as with the square itself: nothing is left out.
    assert (_paint(notes=("肝a",)) == _paint(notes=("□a",))).all()
    assert (_paint(notes=("肝a",)) != _paint(notes=("a",))).any()


def test_a_thin_region_stays_visible_in_a_shrunk_picture() -> None:
    mask = np.zeros((1, 1000, 1500), bool)
    mask[0, 501, 100:1400] = True
    picture = paint(
        np.full((1000, 1500), 50.0),
        [Layer("a line", RED, mask)],
        modality="DX",
        pixel_aspect=1.0,
        title="DX",
        side=300,
    )

    is_red = (np.asarray(picture)[:, :300] == RED).all(axis=2)
    rows, columns = np.nonzero(is_red)
    assert set(rows.tolist()) == {100}
    assert (columns.min(), columns.max()) == (20, 279)


def test_the_sides_of_the_patient_are_marked() -> None:
    plain, marked = _paint(), _paint(sides={"left": "R", "right": "L"})

    changed = (plain != marked).any(axis=2)[:, :600].any(axis=0)
    assert changed[:40].any()
    assert changed[560:].any()
    assert not changed[40:560].any()
