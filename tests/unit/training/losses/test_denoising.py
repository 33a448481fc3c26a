from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.batch import PictureRegions
from training.losses.boxes import box_giou, to_xyxy
from training.losses.denoising import make_denoising


def make_targets(*phrases: int, count: int = 3) -> PictureRegions:
    owner = torch.zeros(len(phrases), count)
    owner[range(len(phrases)), phrases] = 1
    boxes = torch.tensor([[0.3 + 0.2 * i, 0.5, 0.2, 0.4] for i in range(len(phrases))])
    return PictureRegions(owner, boxes.reshape(-1, 4), torch.ones(len(phrases), 8, 8))


def make(targets: list[PictureRegions], *, seed: int = 0, **options: float):
    return make_denoising(
        targets,
        generator=torch.Generator().manual_seed(seed),
        groups=int(options.pop("groups", 3)),
        **options,
    )


def test_pictures_of_nothing_have_nothing_to_repair():
    assert make([make_targets(), make_targets()]) is None


def test_every_group_holds_each_region_twice_and_repairs_it_once():
    queries, pairs = make([make_targets(0, 2), make_targets(1)])

    assert queries.boxes.shape == (2, 12, 4)
    assert torch.bincount(queries.group).tolist() == [4, 4, 4]
    assert (queries.phrase >= 0).sum(1).tolist() == [12, 6]
    assert [len(query) for query, _ in pairs] == [6, 3]
    for picture, (query, region) in enumerate(pairs):
        assert (queries.phrase[picture, query] >= 0).all()
        assert torch.bincount(region).tolist() == [3] * len(set(region.tolist()))


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_a_mild_noise_leaves_an_overlap_and_boxes_stay_on_the_picture(seed):
    target = make_targets(0, 1, 2)
    queries, [(query, region)] = make([target], seed=seed, box_noise=0.8)

    corners = to_xyxy(queries.boxes)
    assert (queries.boxes[..., 2:] > 0).all()
    assert (corners >= -1e-5).all()
    assert (corners <= 1 + 1e-5).all()
    wanted = to_xyxy(target.boxes[region])
    low = torch.maximum(corners[0, query, :2], wanted[:, :2])
    high = torch.minimum(corners[0, query, 2:], wanted[:, 2:])
    assert ((high - low) > 0).all()


def test_bad_queries_lie_farther_off_than_mild_ones():
    target = make_targets(0, 1)
    queries, [(query, region)] = make([target], groups=40)
    mild = box_giou(to_xyxy(queries.boxes[0, query]), to_xyxy(target.boxes[region]))
    bad = torch.ones(len(queries.group), dtype=torch.bool)
    bad[query] = False
    far = queries.boxes[0, bad].reshape(40, 2, 4)
    worse = box_giou(to_xyxy(far), to_xyxy(target.boxes))

    assert float(mild.mean()) > float(worse.mean()) + 0.2


def test_without_noise_the_boxes_and_claims_are_right():
    target = make_targets(2, 0)
    queries, [(query, region)] = make([target], label_noise=0.0, box_noise=0.0)

    assert torch.allclose(queries.boxes[0, query], target.boxes[region])
    assert queries.phrase[0, query].tolist() == [2, 0, 2, 0, 2, 0]


def test_half_the_label_noise_claims_any_phrase():
    queries, [(query, _)] = make([make_targets(1)], groups=3000, label_noise=0.6)

    wrong = (queries.phrase[0, query] != 1).float().mean()
    assert 0.15 < float(wrong) < 0.25  # a third of the 0.3 draws the right one
