"""Turn label maps and drawn phrases into what each branch has to answer."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from training.losses.core import RegionTargets

__all__ = ["choose_concepts", "choose_core_phrases", "phrase_masks", "region_targets"]


def choose_concepts(
    areas: NDArray[np.float64],
    absent: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    count: int,
) -> NDArray[np.int64]:
    """Draw the concepts of a step: mostly what some picture shows, some far away.

    Parameters
    ----------
    areas
        (concepts,) pixels in the whole batch.
    absent
        (concepts,) True for concepts of other body regions.
    """
    weight = np.where(areas > 0, 4.0, 1.0) * np.where(absent, 0.7, 1.0)
    drawn = rng.choice(len(areas), size=count, replace=False, p=weight / weight.sum())
    return np.sort(drawn).astype(np.int64)


def phrase_masks(table: Tensor, labels: Tensor) -> Tensor:
    """Look up (batch, phrases, rows, columns) masks from label maps.

    Parameters
    ----------
    table
        (phrases, structures + 1) bool.
    labels
        (batch, rows, columns) int64.
    """
    return table[:, labels].transpose(0, 1).float()


def choose_core_phrases(
    areas: Tensor, rng: np.random.Generator, *, count: int
) -> Tensor:
    """Pick phrases for the core per picture: two thirds present, the rest absent.

    Parameters
    ----------
    areas
        (pictures, phrases) pixels of each phrase.

    Returns
    -------
    (pictures, count) phrase rows in random order.
    """
    rows = []
    for area in areas.numpy():
        present = rng.permutation(np.nonzero(area >= 6)[0])[: count * 2 // 3]
        rest = rng.permutation(np.setdiff1d(np.arange(len(area)), present))
        rows.append(rng.permutation(np.concatenate([present, rest])[:count]))
    return torch.from_numpy(np.stack(rows))


def region_targets(
    masks: Tensor, *, largest: int = 3, smallest_pixels: int = 6
) -> RegionTargets:
    """Split each phrase's mask into its connected regions.

    Phrases that mean the same region (liver, hepatic) share one target, so that no
    two queries have to find it twice.

    Parameters
    ----------
    masks
        (phrases, rows, columns) of one picture.
    """
    phrases, rows, columns = masks.shape
    found: dict[tuple[int, ...], tuple[list[int], NDArray[np.bool_]]] = {}
    for phrase, mask in enumerate(masks.numpy() > 0):
        pieces, number = ndimage.label(mask)
        if not number:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        for piece in np.argsort(sizes)[::-1][:largest]:
            if sizes[piece] < smallest_pixels:
                break
            region = pieces == piece + 1
            ys, xs = np.nonzero(region)
            key = (ys.min(), ys.max(), xs.min(), xs.max(), int(sizes[piece]))
            found.setdefault(key, ([], region))[0].append(phrase)
    owner = torch.zeros(len(found), phrases)
    boxes = torch.zeros(len(found), 4)
    small = torch.zeros(len(found), rows // 2, columns // 2)
    for i, ((top, bottom, left, right, _), (owners, region)) in enumerate(
        found.items()
    ):
        owner[i, owners] = 1
        boxes[i] = torch.tensor(
            [
                (left + right + 1) / 2 / columns,
                (top + bottom + 1) / 2 / rows,
                (right + 1 - left) / columns,
                (bottom + 1 - top) / rows,
            ]
        )
        halves = region.reshape(rows // 2, 2, columns // 2, 2)
        small[i] = torch.from_numpy(halves.mean((1, 3)) >= 0.5)
    return RegionTargets(owner, boxes, small)
