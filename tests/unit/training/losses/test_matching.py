from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.batch import PictureRegions
from training.losses.matching import match, match_many


def make_targets(*phrases: int, count: int = 3) -> PictureRegions:
    owner = torch.zeros(len(phrases), count)
    owner[range(len(phrases)), phrases] = 1
    boxes = torch.tensor([[0.2 + 0.2 * i, 0.5, 0.2, 0.4] for i in range(len(phrases))])
    return PictureRegions(owner, boxes.reshape(-1, 4), torch.ones(len(phrases), 8, 8))


def test_each_region_gets_its_own_nearest_query():
    target = make_targets(0, 1)
    boxes = torch.tensor([[0.9, 0.9, 0.1, 0.1], *target.boxes.flip(0).tolist()])

    query, region = match(torch.zeros(3, 3), boxes, target)

    assert dict(zip(region.tolist(), query.tolist(), strict=True)) == {0: 2, 1: 1}


def test_the_phrase_decides_between_equal_boxes():
    target = make_targets(2)
    logits = torch.full((3, 3), -3.0)
    logits[1, 2] = 3.0

    query, _ = match(logits, target.boxes.expand(3, -1), target)

    assert query.tolist() == [1]


def test_nothing_is_matched_with_an_empty_picture():
    query, region = match_many(
        torch.zeros(3, 3), torch.rand(3, 4), make_targets(), count=9
    )

    assert len(query) == len(region) == 0


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 12))
def test_many_matches_hold_the_best_ones_and_share_no_query(seed, regions, count):
    generator = torch.Generator().manual_seed(seed)
    target = make_targets(*range(regions))
    logits = torch.randn(10, 3, generator=generator)
    boxes = torch.rand(10, 4, generator=generator) * 0.5 + 0.2

    query, region = match_many(logits, boxes, target, count=count)
    best = set(
        zip(*map(torch.Tensor.tolist, match(logits, boxes, target)), strict=True)
    )

    assert len(set(query.tolist())) == len(query)
    assert best <= set(zip(query.tolist(), region.tolist(), strict=True))
    counts = torch.bincount(region, minlength=regions)
    assert (counts >= 1).all()
    assert (counts <= max(1, count)).all()
