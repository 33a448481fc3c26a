from __future__ import annotations

import torch

from model.core import Detections
from training.losses.core import RegionTargets, core_loss, match
from training.losses.targets import region_targets


def make_detections(batch: int, queries: int = 4, phrases: int = 3) -> Detections:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    boxes = torch.rand(batch, 2, queries, 4, generator=generator) * 0.4 + 0.3
    proposals = torch.rand(batch, queries, 4, generator=generator) * 0.4 + 0.3
    return Detections(
        draw(batch, 2, queries, phrases),
        boxes.requires_grad_(),
        draw(batch, queries, 8, 8),
        draw(batch, queries, phrases),
        proposals.requires_grad_(),
    )


def make_targets(*phrases: int, count: int = 3) -> RegionTargets:
    owner = torch.zeros(len(phrases), count)
    owner[range(len(phrases)), phrases] = 1
    boxes = torch.tensor([[0.2 + 0.2 * i, 0.5, 0.2, 0.4] for i in range(len(phrases))])
    return RegionTargets(owner, boxes.reshape(-1, 4), torch.ones(len(phrases), 8, 8))


def test_each_region_gets_its_own_nearest_query():
    target = make_targets(0, 1)
    boxes = torch.tensor([[0.9, 0.9, 0.1, 0.1], *target.boxes.flip(0).tolist()])
    logits = torch.zeros(3, 3)

    query, region = match(logits, boxes, target)

    assert dict(zip(region.tolist(), query.tolist(), strict=True)) == {0: 2, 1: 1}


def test_the_phrase_decides_between_equal_boxes():
    target = make_targets(2)
    logits = torch.full((3, 3), -3.0)
    logits[1, 2] = 3.0

    query, _ = match(logits, target.boxes.expand(3, -1), target)

    assert query.tolist() == [1]


def test_pictures_do_not_mix_their_phrases():
    """The stock criterion of transformers fails this: it shifts the labels."""
    detections = make_detections(3)
    targets = [make_targets(0, 1), make_targets(2), make_targets(1)]
    known = torch.ones(3, 3, dtype=torch.bool)

    together = core_loss(detections, targets, known) * 4  # four regions in all
    alone = sum(
        core_loss(
            Detections(*(part[i : i + 1] for part in vars(detections).values())),
            [target],
            known[i : i + 1],
        )
        * len(target.boxes)
        for i, target in enumerate(targets)
    )

    assert torch.allclose(together, alone)


def test_proposals_learn():
    """In the stock model they get no gradient at all."""
    detections = make_detections(1)

    core_loss(
        detections, [make_targets(0)], torch.ones(1, 3, dtype=torch.bool)
    ).backward()

    assert detections.proposal_boxes.grad.abs().sum() > 0
    assert detections.proposal_logits.grad.abs().sum() > 0


def test_a_picture_without_regions_teaches_silence():
    detections = make_detections(1)

    loss = core_loss(detections, [make_targets()], torch.ones(1, 3, dtype=torch.bool))
    loss.backward()

    assert torch.isfinite(loss)
    assert (detections.logits.grad >= 0).all()
    assert detections.boxes.grad is None or not detections.boxes.grad.any()


def test_phrases_of_unknown_truth_are_not_judged():
    detections = make_detections(1)
    known = torch.tensor([[True, False, True]])

    core_loss(detections, [make_targets(0)], known).backward()

    assert not detections.logits.grad[..., 1].any()


def test_regions_are_connected_pieces_with_tight_boxes():
    masks = torch.zeros(3, 16, 32)
    masks[0, 2:8, 4:10] = masks[0, 10:14, 20:30] = 1
    masks[1] = masks[0]  # another wording of the same
    masks[2, 0, 0] = 1  # a speck

    targets = region_targets(masks)

    assert targets.phrase.tolist() == [[1, 1, 0], [1, 1, 0]]
    larger = targets.boxes[0] * torch.tensor([32, 16, 32, 16])
    assert larger.tolist() == [25.0, 12.0, 10.0, 4.0]
    assert targets.masks[0].sum() == 10
