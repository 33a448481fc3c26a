"""Pictures hold what they must say, in their pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.fonts import has_letter
from dicom_node.painting import Layer, paint, paint_text, sides_of
from tests.builders.result_cases import SERIES

RED = (255, 0, 0)


def _paint(**options: object) -> np.ndarray:
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 5:10, 10:20] = True
    values: dict[str, object] = {
        "modality": "CT",
        "pixel_spacing_mm": (1.0, 1.0),
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
    assert _paint(pixel_spacing_mm=(3.0, 1.0)).shape[:2] == (600, 730)


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("axial", ("R", "L")),
        ("prone", ("L", "R")),
        ("sagittal", ("A", "P")),
        ("coronal", ("R", "L")),
        ("radiograph", None),
    ],
)
def test_edges_are_named_by_the_sides_of_the_patient(
    name: str, expected: tuple[str, str] | None, tmp_path: Path
) -> None:
    series = SERIES[name](tmp_path)

    assert sides_of(series) == expected
    if expected is not None and series.affine_lps is not None:
        row = tuple(series.affine_lps[:3, 2].tolist())
        plane = replace(series, affine_lps=None, orientation_lps=(*row, 0.0, 0.0, 0.0))
        assert sides_of(plane) == expected
