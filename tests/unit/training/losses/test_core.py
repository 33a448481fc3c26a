from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.core import Detections
from training.batch import PictureRegions
from training.losses.core import core_loss, mask_cost, word_targets

OWNER = [0, 0, 1, 2, -1]
"""Five words: two of the first phrase, one of the others, one of nobody."""


def make_detections(batch: int, queries: int = 4, hypotheses: int = 1) -> Detections:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    def boxes(*shape: int) -> torch.Tensor:
        values = torch.rand(*shape, 4, generator=generator) * 0.4 + 0.3
        return values.requires_grad_()

    several = boxes(batch, 2, hypotheses, queries) if hypotheses > 1 else None
    return Detections(
        logits=draw(batch, 2, queries, 3),
        word_logits=draw(batch, 2, queries, len(OWNER)),
        word_owner=torch.tensor(OWNER).expand(batch, -1),
        boxes=boxes(batch, 2, queries) if several is None else several.mean(2),
        box_hypotheses=several,
        masks=draw(batch, queries, 8, 8),
        proposal_logits=draw(batch, queries, 3),
        proposal_word_logits=draw(batch, queries, len(OWNER)),
        proposal_boxes=boxes(batch, queries),
        query_states=draw(batch, queries, 2),
    )


def make_targets(*phrases: int, count: int = 3) -> PictureRegions:
    owner = torch.zeros(len(phrases), count)
    owner[range(len(phrases)), phrases] = 1
    boxes = torch.tensor([[0.2 + 0.2 * i, 0.5, 0.2, 0.4] for i in range(len(phrases))])
    return PictureRegions(owner, boxes.reshape(-1, 4), torch.ones(len(phrases), 8, 8))


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses.values())).sum()


def known(batch: int) -> torch.Tensor:
    return torch.ones(batch, 3, dtype=torch.bool)


def picture(detections: Detections, index: int) -> Detections:
    parts = {
        f.name: value[index : index + 1]
        for f in fields(detections)
        if (value := getattr(detections, f.name)) is not None
    }
    return replace(detections, **parts)


def test_pictures_do_not_mix_their_phrases():
    """The stock criterion of transformers fails this: it shifts the labels."""
    detections = make_detections(3)
    targets = [make_targets(0, 1), make_targets(2), make_targets(1)]

    together = total(core_loss(detections, targets, known(3))) * 4  # regions in all
    alone = sum(
        total(core_loss(picture(detections, i), [target], known(1))) * len(target.boxes)
        for i, target in enumerate(targets)
    )

    assert torch.allclose(together, alone)


def test_proposals_learn():
    """In the stock model they get no gradient at all."""
    detections = make_detections(1)

    total(core_loss(detections, [make_targets(0)], known(1))).backward()

    assert detections.proposal_boxes.grad.abs().sum() > 0
    assert detections.proposal_word_logits.grad.abs().sum() > 0


def test_several_proposals_may_learn_one_region():
    moved = []
    for count in (1, 3):
        detections = make_detections(1)
        loss = core_loss(
            detections, [make_targets(0)], known(1), proposal_matches=count
        )
        loss["proposals"].backward()
        gradient = detections.proposal_boxes.grad.abs().sum((0, 2))
        moved.append(int((gradient > 0).sum()))

    assert moved == [1, 3]


def test_a_picture_without_regions_teaches_silence():
    detections = make_detections(1)

    loss = total(core_loss(detections, [make_targets()], known(1)))
    loss.backward()

    assert torch.isfinite(loss)
    assert (detections.word_logits.grad >= 0).all()
    assert detections.boxes.grad is None or not detections.boxes.grad.any()


def test_words_of_unknown_phrases_and_of_nobody_are_not_judged():
    detections = make_detections(1)
    sure = torch.tensor([[True, False, True]])

    total(core_loss(detections, [make_targets(0)], sure)).backward()

    judged = detections.word_logits.grad.abs().sum((0, 1, 2)) > 0
    assert judged.tolist() == [True, True, False, True, False]


def test_the_words_of_a_phrase_weigh_one_together():
    goal = torch.tensor([[[1.0, 0.0, 1.0]]])
    owner = torch.tensor([OWNER])

    wanted, weight = word_targets(goal, owner, known(1))

    assert wanted.tolist() == [[[1, 1, 0, 1, 0]]]
    assert weight.tolist() == [[0.5, 0.5, 1, 1, 0]]


@settings(deadline=None)
@given(st.permutations(range(5)), st.integers(0, 6))
def test_the_order_and_padding_of_words_do_not_matter(order, padding):
    detections, target = make_detections(1), make_targets(0, 2)
    places = torch.tensor(order)
    pad = torch.full((1, padding), -1)
    moved = replace(
        detections,
        word_owner=torch.cat((detections.word_owner[:, places], pad), 1),
        word_logits=torch.cat(
            (
                detections.word_logits[..., places],
                torch.full((1, 2, 4, padding), -1e4),
            ),
            -1,
        ),
        proposal_word_logits=torch.cat(
            (
                detections.proposal_word_logits[..., places],
                torch.full((1, 4, padding), -1e4),
            ),
            -1,
        ),
    )

    first = core_loss(detections, [target], known(1))
    second = core_loss(moved, [target], known(1))

    for name, value in first.items():
        assert torch.allclose(value, second[name])


def test_a_region_with_only_a_box_gets_no_mask_loss():
    target = make_targets(0, 1)
    target.masks[0] = torch.nan
    logits = torch.zeros(2, 8, 8, requires_grad=True)

    cost = mask_cost(logits, target.masks)
    cost.sum().backward()

    assert torch.isfinite(cost).all()
    assert cost[0] == 0 < cost[1]
    assert not logits.grad[0].any()
    assert logits.grad[1].all()


def test_a_mask_that_is_right_costs_nothing_and_one_that_is_wrong_costs_much():
    truth = torch.zeros(1, 8, 8)
    truth[:, :4] = 1

    assert float(mask_cost((truth * 2 - 1) * 40, truth)) == pytest.approx(0, abs=1e-4)
    assert float(mask_cost((1 - truth * 2) * 40, truth)) > 100


def test_every_hypothesis_learns_but_the_winner_most():
    detections = make_detections(1, hypotheses=3)

    core_loss(detections, [make_targets(0)], known(1))["boxes"].backward()

    moved = detections.box_hypotheses.grad.abs().sum(-1)  # (1, layers, 3, queries)
    for layer in moved[0]:
        learned = layer.sum(-1)
        assert (learned > 0).all()
        assert float(learned.max()) > 5 * float(learned.min())


def test_denoising_queries_answer_for_the_regions_they_were_made_of():
    detections = make_detections(1)
    detections.denoised = make_detections(1)
    pairs = [(torch.tensor([2]), torch.tensor([0]))]

    losses = core_loss(detections, [make_targets(1)], known(1), denoising_pairs=pairs)
    losses["denoising"].backward()

    moved = detections.denoised.boxes.grad.abs().sum((0, 1, 3)) > 0
    assert moved.tolist() == [False, False, True, False]
    words = detections.denoised.word_logits.grad[0, :, 2]
    assert (words[:, 2] < 0).all()
    assert (words[:, [0, 1, 3]] > 0).all()
    assert detections.word_logits.grad is None
