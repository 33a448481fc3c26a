"""Choose what a step asks, and turn masks into the regions that answer it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from training.batch import PictureRegions

__all__ = [
    "SMALLEST_PIXELS",
    "ask_regions",
    "choose_concepts",
    "choose_core_phrases",
    "picture_regions",
]

SMALLEST_PIXELS = 6
"""Fewer pixels of a phrase on a picture are neither present nor absent."""


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


def choose_core_phrases(
    areas: Tensor, known: Tensor, rng: np.random.Generator, *, count: int
) -> Tensor:
    """Pick phrases for the core per picture: two thirds present, the rest absent.

    Parameters
    ----------
    areas
        (pictures, phrases) pixels of each phrase.
    known
        (pictures, phrases) bool; phrases of unknown truth come last.

    Returns
    -------
    (pictures, min(count, phrases)) phrase rows in random order.
    """
    count = min(count, areas.shape[1])
    rows = []
    for area, sure in zip(areas.cpu().numpy(), known.cpu().numpy(), strict=True):
        present = rng.permutation(np.nonzero((area >= SMALLEST_PIXELS) & sure)[0])
        present = present[: count * 2 // 3]
        rest = rng.permutation(np.setdiff1d(np.arange(len(area)), present))
        rest = rest[np.argsort(~sure[rest], kind="stable")]
        rows.append(rng.permutation(np.concatenate([present, rest])[:count]))
    return torch.from_numpy(np.stack(rows))


def ask_regions(regions: PictureRegions, rows: Tensor, known: Tensor) -> PictureRegions:
    """Keep the regions that the asked phrases own, in the order of asking.

    Parameters
    ----------
    regions
        Of one picture, over all phrases of its batch.
    rows
        (n,) rows of the batch's phrases, -1 = padding.
    known
        (n,) bool; a phrase of unknown truth owns nothing.
    """
    owned = regions.phrase[:, rows.clamp(min=0)] * (known & (rows >= 0))
    some = owned.sum(1) > 0
    return PictureRegions(owned[some], regions.boxes[some], regions.masks[some])


def picture_regions(
    masks: NDArray[np.bool_],
    *,
    outlined: NDArray[np.bool_] | None = None,
    largest: int = 3,
    smallest_pixels: int = SMALLEST_PIXELS,
) -> PictureRegions:
    """Split each phrase's mask into its connected regions.

    Phrases that mean the same region (liver, hepatic) share one target, so that no
    two queries have to find it twice.

    Parameters
    ----------
    masks
        (phrases, rows, columns) of one picture; both sides even.
    outlined
        (phrases,) False: the mask is filled boxes, its regions get no mask.
    largest
        At most so many pieces of one phrase.
    smallest_pixels
        Smaller pieces are specks.
    """
    phrases, rows, columns = masks.shape
    found: dict[tuple[Any, ...], tuple[list[int], NDArray[np.float32]]] = {}
    for phrase in np.nonzero(masks.any((1, 2)))[0]:
        pieces, _ = ndimage.label(masks[phrase])
        sizes = np.bincount(pieces.ravel())[1:]
        places = ndimage.find_objects(pieces)
        for piece in np.argsort(sizes, kind="stable")[::-1][:largest]:
            if sizes[piece] < smallest_pixels:
                break
            y, x = places[piece]
            is_exact = outlined is None or bool(outlined[phrase])
            # The same box and size may hold another shape.
            shape = np.packbits(pieces[y, x] == piece + 1).tobytes()
            key = (y.start, y.stop, x.start, x.stop, is_exact, shape)
            if key not in found:
                small = _halve(pieces == piece + 1) if is_exact else _unknown(masks)
                found[key] = ([], small)
            found[key][0].append(int(phrase))
    owner = torch.zeros(len(found), phrases)
    for i, (owners, _) in enumerate(found.values()):
        owner[i, owners] = 1
    edges = np.array([key[:4] for key in found], dtype=np.float32).reshape(-1, 4)
    top, bottom, left, right = edges.T
    boxes = np.stack(
        (
            (left + right) / 2 / columns,
            (top + bottom) / 2 / rows,
            (right - left) / columns,
            (bottom - top) / rows,
        ),
        axis=1,
    )
    small_masks = [small for _, small in found.values()]
    stacked = np.stack(small_masks) if small_masks else np.zeros((0, *_half(masks)))
    return PictureRegions(
        owner, torch.from_numpy(boxes), torch.from_numpy(stacked.astype(np.float32))
    )


def _half(masks: NDArray[np.bool_]) -> tuple[int, int]:
    return masks.shape[1] // 2, masks.shape[2] // 2


def _halve(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (rows/2, columns/2): 1 where at least half of four pixels are inside."""
    rows, columns = region.shape
    halves = region.reshape(rows // 2, 2, columns // 2, 2)
    small: NDArray[np.float32] = (halves.mean((1, 3)) >= 0.5).astype(np.float32)
    return small


def _unknown(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.full(_half(masks), np.nan, dtype=np.float32)
