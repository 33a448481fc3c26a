from __future__ import annotations

import numpy as np
import torch

from training.losses.targets import (
    ask_regions,
    choose_concepts,
    choose_core_phrases,
    picture_regions,
)


def make_masks() -> np.ndarray:
    masks = np.zeros((3, 16, 32), dtype=np.bool_)
    masks[0, 2:8, 4:10] = masks[0, 10:14, 20:30] = True
    masks[1] = masks[0]  # another wording of the same
    masks[2, 0, 0] = True  # a speck
    return masks


def test_regions_are_connected_pieces_with_tight_boxes():
    regions = picture_regions(make_masks())

    assert regions.phrase.tolist() == [[1, 1, 0], [1, 1, 0]]
    larger = regions.boxes[0] * torch.tensor([32, 16, 32, 16])
    assert larger.tolist() == [25.0, 12.0, 10.0, 4.0]
    assert regions.masks[0].sum() == 10


def test_a_picture_of_nothing_has_no_regions():
    regions = picture_regions(np.zeros((2, 16, 32), dtype=np.bool_))

    assert regions.phrase.shape == (0, 2)
    assert regions.boxes.shape == (0, 4)
    assert regions.masks.shape == (0, 8, 16)


def test_boxes_that_were_filled_have_no_mask():
    regions = picture_regions(make_masks(), outlined=np.array([False, False, True]))

    assert regions.masks.isnan().all()
    assert len(regions.boxes) == 2


def test_only_the_largest_pieces_are_kept():
    mask = np.zeros((1, 16, 32), dtype=np.bool_)
    for i, size in enumerate((2, 3, 4, 5)):
        mask[0, :size, 8 * i : 8 * i + size] = True

    regions = picture_regions(mask, largest=2, smallest_pixels=1)

    assert (regions.boxes[:, 2] * 32).round().tolist() == [5, 4]


def test_asked_columns_follow_the_order_of_asking():
    regions = picture_regions(make_masks())

    asked = ask_regions(
        regions, torch.tensor([2, 1, -1]), torch.tensor([True, True, True])
    )
    unsure = ask_regions(
        regions, torch.tensor([2, 1, 0]), torch.tensor([True, False, True])
    )

    assert asked.phrase.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert unsure.phrase.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_a_region_that_nobody_asks_for_is_left_out():
    regions = picture_regions(make_masks())

    asked = ask_regions(regions, torch.tensor([2]), torch.tensor([True]))

    assert len(asked.boxes) == len(asked.masks) == 0


def test_two_thirds_of_the_asked_phrases_are_there_if_there_are_so_many():
    areas = torch.tensor([[50] * 4 + [0] * 16, [50] + [0] * 19])
    known = torch.ones(2, 20, dtype=torch.bool)

    rows = choose_core_phrases(areas, known, np.random.default_rng(0), count=6)

    present = areas.gather(1, rows) > 0
    assert present.sum(1).tolist() == [4, 1]
    assert all(len(set(row.tolist())) == 6 for row in rows)


def test_phrases_of_unknown_truth_are_asked_last():
    areas = torch.zeros(1, 6)
    known = torch.tensor([[False, True, False, True, True, False]])

    rows = choose_core_phrases(areas, known, np.random.default_rng(0), count=3)

    assert set(rows[0].tolist()) == {1, 3, 4}


def test_what_is_on_a_picture_is_asked_more_often():
    areas = np.array([100.0, 0.0, 0.0, 0.0])
    absent = np.array([False, False, True, True])
    rng = np.random.default_rng(0)

    counts = np.zeros(4)
    for _ in range(200):
        counts[choose_concepts(areas, absent, rng, count=1)] += 1

    assert counts[0] > 2 * counts[1:].max()
    assert counts.min() > 0


def test_two_shapes_in_one_box_are_two_regions():
    mask = np.zeros((2, 12, 12), dtype=bool)
    mask[0, 2:8, 2:8] = np.tri(6, dtype=bool)
    mask[1, 2:8, 2:8] = np.tri(6, dtype=bool)[:, ::-1]  # the same box and size

    regions = picture_regions(mask)

    assert regions.phrase.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert not torch.equal(regions.masks[0], regions.masks[1])


def test_a_box_does_not_swallow_an_outline_of_its_size():
    mask = np.zeros((2, 12, 12), dtype=bool)
    mask[:, 2:8, 2:8] = True

    regions = picture_regions(mask, outlined=np.array([False, True]))

    assert len(regions.boxes) == 2
    assert int(torch.isnan(regions.masks).flatten(1).any(1).sum()) == 1
