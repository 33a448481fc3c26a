"""Teach the detection core: words, boxes and masks of queries, picture by picture.

Every picture has its own phrases, its own map from words to phrases and its own
matching. The stock criterion of ``transformers`` mixes the phrases of different
pictures and gives its proposals no gradient, therefore it is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from model.core import Detections
from training.batch import PictureRegions
from training.losses.boxes import box_cost
from training.losses.counts import world_share
from training.losses.hypotheses import winner_takes_most
from training.losses.matching import Pairs, match_many
from training.losses.terms import focal_loss, soft_dice

__all__ = ["core_loss", "mask_cost", "word_targets"]


@dataclass
class _Answers:
    """One set of answers: a decoder layer, the proposals or the denoising queries."""

    words: Tensor
    """(batch, queries, W)"""
    boxes: Tensor
    """(hypotheses, batch, queries, 4)"""
    pairs: list[Pairs]
    masks: Tensor | None = None
    """(batch, queries, rows/2, columns/2)"""


def core_loss(
    detections: Detections,
    targets: list[PictureRegions],
    known: Tensor,
    *,
    proposal_matches: int = 1,
    denoising_pairs: list[Pairs] | None = None,
    denoising_groups: int = 1,
    epsilon: float = 0.05,
    by_word: bool = True,
) -> dict[str, Tensor]:
    """Compare all layers, the proposals and the denoising queries with the regions.

    Parameters
    ----------
    targets
        Per picture; columns of ``phrase`` are the asked phrases.
    known
        (batch, n), True where the phrase is real and its labels can tell.
    proposal_matches
        How many proposals learn each region; 1: one-to-one, 0: none, as in the stock
        model.
    denoising_pairs, denoising_groups
        From and as for :func:`training.losses.denoising.make_denoising`.
    epsilon
        See :func:`training.losses.hypotheses.winner_takes_most`.
    by_word
        Compare regions with each word of a phrase; False: with the mean of its words.

    Returns
    -------
    ``words``, ``boxes`` and ``masks`` summed over decoder layers, ``proposals`` and
    ``denoising``: each per region of all pictures of all processes.

    References
    ----------
    X. Zhao et al., MM-Grounding-DINO, 2024; B. Cheng et al., Mask2Former, CVPR 2022;
    H. Zhang et al., DINO, ICLR 2023.
    """
    count = torch.tensor(float(sum(len(target.boxes) for target in targets)))
    regions = world_share(count.to(detections.boxes.device))
    if not by_word:
        detections = _without_words(detections)
    owner = detections.word_owner

    def judge(answers: _Answers) -> dict[str, Tensor]:
        return _terms(answers, targets, owner=owner, known=known, epsilon=epsilon)

    def pairs_of(logits: Tensor, boxes: Tensor, count: int = 1) -> list[Pairs]:
        return [
            match_many(logits[i], boxes[i], target, count=count)
            for i, target in enumerate(targets)
        ]

    layers = range(detections.logits.shape[1])
    losses = _add(
        judge(
            _layer(
                detections, i, pairs_of(detections.logits[:, i], detections.boxes[:, i])
            )
        )
        for i in layers
    )
    if proposal_matches:
        proposals = _Answers(
            detections.proposal_word_logits,
            detections.proposal_boxes[None],
            pairs_of(
                detections.proposal_logits, detections.proposal_boxes, proposal_matches
            ),
        )
        losses["proposals"] = _total(judge(proposals)) / proposal_matches
    denoised = detections.denoised
    if denoised is not None and denoising_pairs is not None:
        repaired = _add(judge(_layer(denoised, i, denoising_pairs)) for i in layers)
        losses["denoising"] = _total(repaired) / denoising_groups
    return {name: value / regions for name, value in losses.items()}


def _without_words(detections: Detections) -> Detections:
    """Let every phrase be a single word: the mean of its words."""
    batch, count = len(detections.logits), detections.logits.shape[-1]
    numbers = torch.arange(count, device=detections.logits.device)
    has_words = (detections.word_owner[..., None] == numbers).any(dim=1)
    denoised = detections.denoised
    return replace(
        detections,
        word_owner=torch.where(has_words, numbers.expand(batch, -1), -1),
        word_logits=detections.logits,
        proposal_word_logits=detections.proposal_logits,
        denoised=None
        if denoised is None
        else replace(denoised, word_logits=denoised.logits),
    )


def _add(layers: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    for layer in layers:
        sums = {name: sums.get(name, 0) + value for name, value in layer.items()}
    return sums


def _total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _layer(detections: Detections, index: int, pairs: list[Pairs]) -> _Answers:
    hypotheses = detections.box_hypotheses
    if hypotheses is None:
        boxes = detections.boxes[:, index][None]
    else:
        boxes = hypotheses[:, index].transpose(0, 1)  # (hypotheses, batch, queries, 4)
    is_last = index == detections.logits.shape[1] - 1
    return _Answers(
        detections.word_logits[:, index],
        boxes,
        pairs,
        detections.masks if is_last else None,
    )


def _terms(
    answers: _Answers,
    targets: Sequence[PictureRegions],
    *,
    owner: Tensor,
    known: Tensor,
    epsilon: float,
) -> dict[str, Tensor]:
    """Sum the terms of one set of answers over its pictures."""
    words = answers.words.float()
    goal = words.new_zeros(*words.shape[:2], known.shape[1])
    for i, (found, region) in enumerate(answers.pairs):
        goal[i, found] = targets[i].phrase[region]
    wanted, weight = word_targets(goal, owner, known)
    score = focal_loss(words, wanted) * weight[:, None]
    picture = torch.cat(
        [torch.full_like(query, i) for i, (query, _) in enumerate(answers.pairs)]
    )
    query = torch.cat([query for query, _ in answers.pairs])
    truth = torch.cat(
        [t.boxes[r] for t, (_, r) in zip(targets, answers.pairs, strict=True)]
    )
    boxes = answers.boxes[:, picture, query].float()  # (hypotheses, pairs, 4)
    costs = winner_takes_most(box_cost(boxes, truth), epsilon=epsilon)
    terms = {"words": score.sum(), "boxes": costs.sum()}
    if answers.masks is not None:
        shapes = torch.cat(
            [t.masks[r] for t, (_, r) in zip(targets, answers.pairs, strict=True)]
        )
        terms["masks"] = mask_cost(answers.masks[picture, query].float(), shapes).sum()
    else:
        terms["masks"] = words.new_zeros(())
    return terms


def word_targets(
    phrase_goal: Tensor, owner: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Spread what is wanted of phrases over their words.

    Parameters
    ----------
    phrase_goal
        (batch, queries, n) 1 where the query has to answer for the phrase.
    owner
        (batch, W) phrase of each word, -1 = none.
    known
        (batch, n) bool.

    Returns
    -------
    (batch, queries, W) targets and (batch, W) weights: the words of one phrase weigh
    one together, so that long sentences are not louder than names; words of nobody and
    of phrases of unknown truth weigh nothing.

    References
    ----------
    L. H. Li et al., GLIP, CVPR 2022: the map from words to phrases, per picture.
    """
    rows = owner.clamp(min=0)
    wide = rows[:, None].expand(-1, phrase_goal.shape[1], -1)
    counts = (owner >= 0) & known.gather(1, rows)
    words = torch.zeros_like(known, dtype=phrase_goal.dtype)
    words = words.scatter_add(1, rows, (owner >= 0).to(phrase_goal.dtype))
    weight = counts / words.gather(1, rows).clamp(min=1)
    return phrase_goal.gather(2, wide) * counts[:, None], weight


def mask_cost(logits: Tensor, truth: Tensor) -> Tensor:
    """Return 5 cross-entropy + 2 Dice of each mask; nothing where only boxes are known.

    Parameters
    ----------
    logits, truth
        (regions, rows, columns); `truth` NaN throughout where there is no outline.

    References
    ----------
    B. Cheng et al., Mask2Former, CVPR 2022.
    """
    flat, goal = logits.flatten(1), truth.flatten(1)
    has_outline = ~goal.isnan().any(dim=1)
    goal = goal.nan_to_num(0.0)
    entropy = functional.binary_cross_entropy_with_logits(flat, goal, reduction="none")
    return (5 * entropy.mean(-1) + 2 * soft_dice(flat, goal)) * has_outline
