"""Make queries that the decoder has to repair: noised boxes with claimed phrases."""

from __future__ import annotations

import torch
from torch import Tensor

from model.core import DenoisingQueries
from training.batch import PictureRegions
from training.losses.boxes import to_xyxy
from training.losses.matching import Pairs

__all__ = ["make_denoising"]


def make_denoising(
    targets: list[PictureRegions],
    *,
    generator: torch.Generator,
    groups: int,
    label_noise: float = 0.5,
    box_noise: float = 1.0,
) -> tuple[DenoisingQueries, list[Pairs]] | None:
    """Noise every region twice per group: mildly, to be repaired, and badly.

    Parameters
    ----------
    targets
        Regions of the pictures that the core sees; columns are asked phrases.
    groups
        Number of groups, at least 1.
    label_noise
        Half of this share of the queries claims a phrase at random.
    box_noise
        Corners move by up to this share of half the box; those of a bad query by one
        to two such shares. A bad query has to answer "nothing".

    Returns
    -------
    The queries and, for each picture, which of them has to become which region; None
    when no picture shows anything.

    References
    ----------
    H. Zhang et al., DINO, ICLR 2023.
    """
    most = max((len(target.boxes) for target in targets), default=0)
    if not most or groups < 1:
        return None
    count = 2 * most * groups
    device = targets[0].boxes.device
    boxes = torch.full((len(targets), count, 4), 0.5)
    phrase = torch.full((len(targets), count), -1)
    pairs: list[Pairs] = []
    for picture, target in enumerate(targets):
        size = len(target.boxes)
        query, region = [torch.zeros(0, dtype=torch.long)], []
        for group in range(groups):
            start = 2 * most * group
            for far in (False, True):
                where = slice(start + far * most, start + far * most + size)
                boxes[picture, where] = _move(
                    target.boxes.cpu(), generator, scale=box_noise, far=far
                )
                phrase[picture, where] = _claim(
                    target.phrase.cpu(), generator, share=label_noise
                )
            query.append(torch.arange(start, start + size))
            region.append(torch.arange(size))
        pairs.append((torch.cat(query).to(device), torch.cat(region).to(device)))
    group_of = torch.arange(groups).repeat_interleave(2 * most)
    queries = DenoisingQueries(boxes.to(device), phrase.to(device), group_of.to(device))
    return queries, pairs


def _move(
    boxes: Tensor, generator: torch.Generator, *, scale: float, far: bool
) -> Tensor:
    """Move every corner coordinate to either side; stay on the picture."""
    half = boxes[:, 2:].repeat(1, 2) / 2  # (regions, 4)
    sign = torch.randint(2, boxes.shape, generator=generator) * 2.0 - 1
    length = torch.rand(boxes.shape, generator=generator) + far
    corners = (to_xyxy(boxes) + sign * length * half * scale).clamp(0, 1)
    low = torch.minimum(corners[:, :2], corners[:, 2:])
    high = torch.maximum(corners[:, :2], corners[:, 2:])
    return torch.cat(((low + high) / 2, (high - low).clamp(min=1e-3)), dim=1)


def _claim(phrase: Tensor, generator: torch.Generator, *, share: float) -> Tensor:
    """Draw one of a region's phrases, or, with half the share, any phrase at all."""
    if not len(phrase):
        return torch.zeros(0, dtype=torch.long)
    own = torch.multinomial(phrase, 1, generator=generator)[:, 0]
    wrong = torch.randint(phrase.shape[1], own.shape, generator=generator)
    flips = torch.rand(own.shape, generator=generator) < share / 2
    return torch.where(flips, wrong, own)
