from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.builders.tiny_dataset import block
from training.build.findings import Finding
from training.build.regions import Draft, choose_slices, draft_regions, pieces_of
from training.build.settings import BuildSettings
from training.build.volume_mask import PackedMask
from training.rle import decode_rle

SETTINGS = BuildSettings(min_area=4, slice_step=5, lesion_slices=3, max_slices=8)
LIVER = Finding(label="liver", verbatim=None, status="present")


def _draft(
    finding: Finding,
    index: int = 0,
    shape: tuple[int, int] = (20, 30),
    source_shape: tuple[int, int] = (20, 30),
) -> tuple[tuple[Draft, ...], Counter[str]]:
    drops: Counter[str] = Counter()
    drafts = draft_regions(
        [finding],
        index=index,
        shape=shape,
        source_shape=source_shape,
        settings=SETTINGS,
        drops=drops,
    )
    return drafts, +drops


@settings(deadline=None)
@given(hnp.arrays(np.bool_, (12, 15)))
def test_pieces_make_up_the_mask_and_their_boxes_are_tight(mask: np.ndarray) -> None:
    pieces, small = pieces_of(mask, min_area=1)

    union = np.zeros_like(mask)
    for box, piece in pieces:
        assert not (union & piece).any()
        union |= piece
        rows, columns = np.nonzero(piece)
        assert box == (
            columns.min(),
            rows.min(),
            columns.max() + 1,
            rows.max() + 1,
        )
    np.testing.assert_array_equal(union, mask)
    assert small == 0


def test_each_piece_has_its_box_and_small_ones_are_counted() -> None:
    mask = block((20, 30), (2, 6), (2, 6)) | block((20, 30), (10, 14), (20, 28))
    mask[18, 2] = True

    drafts, drops = _draft(replace(LIVER, masks=(PackedMask.pack(mask),)))

    assert drafts[0].boxes == ((2, 2, 6, 6), (20, 10, 28, 14))
    assert drafts[0].masks is not None
    union = np.logical_or.reduce([decode_rle(one) for one in drafts[0].masks])
    mask[18, 2] = False
    np.testing.assert_array_equal(union, mask)
    assert drops == {"piece of a mask below min_area": 1}


def test_pieces_drawn_apart_stay_apart_where_they_touch() -> None:
    masks = tuple(
        PackedMask.pack(block((20, 30), (2, 6), span)) for span in ((2, 6), (6, 10))
    )

    drafts, _ = _draft(replace(LIVER, masks=masks))

    assert drafts[0].boxes == ((2, 2, 6, 6), (6, 2, 10, 6))


def test_a_box_stays_a_box_and_shrinks_with_the_picture() -> None:
    drafts, _ = _draft(
        replace(LIVER, boxes=((4, 8, 10, 20),)), shape=(10, 30), source_shape=(40, 60)
    )

    assert drafts[0].boxes == ((2, 2, 5, 5),)
    assert drafts[0].masks is None


def test_boxes_beside_masks_turn_all_of_it_into_boxes() -> None:
    mask = PackedMask.pack(block((20, 30), (2, 6), (2, 6)))

    drafts, _ = _draft(replace(LIVER, masks=(mask,), boxes=((10, 10, 15, 15),)))

    assert drafts[0].boxes == ((2, 2, 6, 6), (10, 10, 15, 15))
    assert drafts[0].masks is None


def test_what_is_too_small_on_a_slice_is_neither_there_nor_not() -> None:
    mask = np.zeros((3, 20, 30), bool)
    mask[1, 3, 3] = True

    drafts, _ = _draft(replace(LIVER, masks=(PackedMask.pack(mask),)), index=1)

    assert drafts[0].ignore
    assert not drafts[0].boxes


@pytest.mark.parametrize(("complete", "regions"), [(True, 0), (False, 1)])
def test_outside_a_mask_only_a_complete_one_is_silent(
    complete: bool, regions: int
) -> None:
    mask = PackedMask.pack(block((3, 20, 30), (1, 2), (3, 9), (3, 9)))

    drafts, _ = _draft(replace(LIVER, masks=(mask,), complete=complete), index=0)

    assert len(drafts) == regions
    assert all(draft.ignore for draft in drafts)


def test_present_without_a_place_teaches_nothing() -> None:
    drafts, drops = _draft(LIVER)

    assert drafts[0].ignore
    assert drops == {"present without a place, neither positive nor negative": 1}


def test_absent_has_no_place_and_is_not_ignored() -> None:
    drafts, _ = _draft(replace(LIVER, status="absent"))

    assert drafts[0].status == "absent"
    assert not drafts[0].boxes
    assert not drafts[0].ignore


def test_largest_slices_lesion_slices_and_every_nth_are_chosen() -> None:
    organ = np.array([0] * 10 + [1, 2, 9, 2, 1] + [0] * 15)
    lesion = np.array([0] * 20 + [3, 3, 4, 3, 3] + [0] * 5)

    chosen = choose_slices(
        {"liver": organ, "cyst": lesion},
        slices=30,
        lesions=frozenset({"cyst"}),
        settings=replace(SETTINGS, max_slices=99),
    )

    assert chosen == (2, 7, 12, 17, 20, 22, 24, 27)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcd"), hnp.arrays(np.int64, 17, elements=st.integers(0, 9))
    )
)
def test_chosen_slices_are_few_ordered_and_inside(
    areas: dict[str, np.ndarray],
) -> None:
    chosen = choose_slices(areas, slices=17, lesions=frozenset("ab"), settings=SETTINGS)

    assert list(chosen) == sorted(set(chosen))
    assert 0 < len(chosen) <= SETTINGS.max_slices
    assert all(0 <= one < 17 for one in chosen)
    for area in areas.values():
        if area.any():
            assert int(area.argmax()) in chosen
