from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engines.checkpoint import EngineError
from model.engines.generative import parse_boxes
from model.engines.pictures import PictureSettings, display_pictures, grey_window
from model.engines.planes import Finding, piece_scores
from model.engines.slices import SliceEngine
from model.records import ImageStack

SHARES = st.floats(0.0, 0.9)


class OneBox(SliceEngine):
    """Answers with what it is told, whatever it sees."""

    def __init__(self, findings: Sequence[Finding], *, padded: bool = False) -> None:
        self._findings = list(findings)
        self.pictures = PictureSettings(
            8, 8, 8, 8, (0.5,) * 3, (0.5,) * 3, 1 / 255, is_square_padded=padded
        )
        self.presence_threshold = 0.5

    def _prepare(self) -> None: ...

    def see(self, pictures, phrases):
        self.seen = [*getattr(self, "seen", []), *pictures]
        return [[self._findings.pop(0)] for _ in pictures]


def make_stack(slices: int, *, spacing_mm=(3.0, 1.0, 1.0), is_volume=True):
    return ImageStack(
        np.zeros((slices, 40, 60), np.float32), spacing_mm, "CT", None, is_volume
    )


def box(*xyxy: float, score: float = 0.9) -> Finding:
    return Finding(np.array([xyxy]), np.array([score]))


NOTHING = Finding(np.zeros((0, 4)), np.zeros(0))


@given(SHARES, SHARES, st.floats(0.05, 0.1), st.booleans())
def test_a_box_covers_the_pixels_that_it_names(x, y, size, padded):
    engine = OneBox([box(x, y, x + size, y + size)], padded=padded)
    side = (60.0, 60.0) if padded else (60.0, 40.0)

    (answer,) = engine.ground(make_stack(1), ["liver"])

    top, left = y * side[1], x * side[0]
    if top >= 40:  # the padding below the picture holds no pixel
        assert not answer.is_present
        return
    assert answer.is_present
    assert answer.mask_origin == (0, int(top), int(left))
    rows, columns = answer.mask.shape[1:]
    assert rows == min(40, np.ceil((y + size) * side[1])) - int(top)
    assert columns == min(60, np.ceil((x + size) * side[0])) - int(left)
    (found,) = answer.boxes
    assert found.xyxy[:2] == (int(left), int(top))


def test_skipped_slices_follow_the_nearest_one_that_was_seen():
    engine = OneBox([box(0, 0, 0.5, 0.5), NOTHING, box(0.5, 0.5, 1, 1)])

    (answer,) = engine.ground(make_stack(9, spacing_mm=(1.0, 1.0, 1.0)), ["liver"])

    filled = np.zeros(9, bool)
    filled[answer.mask_origin[0] :][: len(answer.mask)] = answer.mask.any(axis=(1, 2))
    assert filled.tolist() == [True] * 3 + [False] * 3 + [True] * 3


def test_every_picture_of_no_volume_is_seen():
    engine = OneBox([box(0, 0, 1, 1)] * 4)

    (answer,) = engine.ground(make_stack(4, is_volume=False), ["liver"])

    assert answer.mask.shape == (4, 40, 60)


def test_what_lies_under_the_threshold_is_absent():
    engine = OneBox([box(0, 0, 1, 1, score=0.4)])

    (answer,) = engine.ground(make_stack(1), ["liver"])

    assert not answer.is_present
    assert answer.score == pytest.approx(0.4)
    assert answer.mask.shape == (0, 0, 0)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30))
def test_a_mask_of_any_grid_lands_where_it_lay(rows, columns):
    mask = np.zeros((1, rows, columns), bool)
    mask[0, rows // 2 :] = True
    finding = Finding(np.zeros((1, 4)), np.array([1.0]), mask)

    (answer,) = OneBox([finding]).ground(make_stack(1), ["liver"])

    assert answer.mask_origin[1] == pytest.approx(40 * (rows // 2) / rows, abs=1)
    assert answer.mask_origin[1] + answer.mask.shape[1] == 40


@pytest.mark.parametrize("modality", ["CT", "MR", "CR"])
def test_grey_slices_are_shown_in_a_window_and_colour_as_it_is(modality):
    rng = np.random.default_rng(0)
    grey = rng.normal(50, 100, (2, 6, 5)).astype(np.float32)
    colour = rng.integers(0, 255, (2, 6, 5, 3), dtype=np.uint8)

    shown = display_pictures(grey, [grey_window(grey, modality)] * 2)

    assert shown.shape == (2, 6, 5, 3)
    flat = shown[..., 0].ravel()[np.argsort(grey.ravel(), kind="stable")]
    assert (np.diff(flat.astype(int)) >= 0).all()
    assert np.array_equal(display_pictures(colour, ()), colour)


def show_ramp(*, is_volume):
    """Six MR slices, each twice as bright as the one before: what the model saw."""
    ramp = np.linspace(1, 2, 2400, dtype=np.float32).reshape(40, 60)
    pixels = np.stack([ramp * 2**i for i in range(6)])
    stack = ImageStack(pixels, (3.0, 1.0, 1.0), "MR", None, is_volume)
    engine = OneBox([NOTHING] * 6)
    engine.ground(stack, ["liver"])
    return pixels, np.stack(engine.seen)[..., 0].astype(float)


def test_a_volume_is_shown_in_one_window_whatever_is_asked_at_once():
    pixels, seen = show_ramp(is_volume=True)

    low, high = np.percentile(pixels, (1, 99.5))
    expected = ((pixels - low) / (high - low) * 255).clip(0, 255)
    assert np.abs(seen - expected).max() <= 1


def test_each_picture_of_no_volume_has_a_window_of_its_own():
    _, seen = show_ramp(is_volume=False)

    assert (seen.max(axis=(1, 2)) == 255).all()
    assert np.abs(seen - seen[:1]).max() <= 1


def test_a_window_of_a_large_volume_is_that_of_all_its_slices(monkeypatch):
    monkeypatch.setattr("model.engines.pictures._SAMPLES", 2000)
    pixels = np.random.default_rng(0).normal(0, 1, (8, 60, 60))
    pixels[5:] += 10

    assert grey_window(pixels, "MR") == pytest.approx(
        np.percentile(pixels, (1.0, 99.5)), abs=0.4
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value):
    stack = make_stack(2)
    stack.pixels[1, 3, 4] = value

    with pytest.raises(ValueError, match="NaN or infinite"):
        OneBox([NOTHING] * 2).ground(stack, ["liver"])


@pytest.mark.parametrize("shape", [(1, 40), (1, 40, 60, 4), (0, 40, 60)])
def test_pixels_of_no_known_shape_are_refused(shape):
    stack = ImageStack(np.zeros(shape, np.uint8), None, "CT", None, is_volume=False)

    with pytest.raises(ValueError, match="shape"):
        OneBox([NOTHING]).ground(stack, ["liver"])


@pytest.mark.parametrize(
    "finding",
    [
        box(0, 0, 1, 1, score=np.nan),
        box(0, 0, 1, np.nan),
        Finding(np.zeros((0, 4)), np.zeros(0), score=np.nan),
    ],
)
def test_an_answer_that_is_no_number_is_an_error(finding):
    with pytest.raises(EngineError, match="finite"):
        OneBox([finding]).ground(make_stack(1), ["liver"])


def test_a_box_is_as_sure_as_the_best_finding_in_its_piece():
    finding = Finding(
        np.array(
            [[0, 0, 0.2, 0.2], [0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 1, 1], [0, 0, 1, 1]]
        ),
        np.array([0.9, 0.6, 0.7, 0.4]),
    )
    sure = box(0, 0, 0.5, 0.5, score=0.8)

    (answer,) = OneBox([finding, sure]).ground(make_stack(2), ["liver"])

    found = [(one.slice_index, pytest.approx(one.score)) for one in answer.boxes]
    assert found == [(0, 0.9), (0, 0.7), (1, 0.8)]
    assert answer.score == pytest.approx(0.85)


def test_a_piece_within_another_s_box_keeps_its_own_score():
    ring = np.full((9, 9), 0.5, np.float32)
    ring[1:-1, 1:-1] = -1
    ring[4, 4] = 0.9

    scores = piece_scores(ring)

    assert scores == {(0, 0, 9, 9): 0.5, (4, 4, 5, 5): pytest.approx(0.9)}


FIRST, SECOND = [0.105, 0.205, 0.305, 0.405], [0.505, 0.505, 0.605, 0.605]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([10, 20, 30, 40], [FIRST]),
        ([10, 20, 30, 40, -1, 50, 50, 60, 60], [FIRST, SECOND]),
        ([10, 20, 30, 40, 50, 50, 60, 60], [FIRST, SECOND]),
        ([10, 20, -1, 30, 40], []),  # words between coordinates: no box
        ([30, 20, 10, 40], []),  # the second corner lies left of the first
        ([10, 20, 30], []),
    ],
)
def test_four_coordinates_in_a_row_are_a_box(tokens, expected):
    coordinates = {i: i for i in range(100)}

    boxes, scores = parse_boxes(tokens, [0.5] * len(tokens), coordinates, bins=100)

    assert boxes.shape == (len(expected), 4)
    assert np.allclose(boxes, np.reshape(expected, (-1, 4)))
    assert np.allclose(scores, 0.5)
    assert len(scores) == len(expected)
