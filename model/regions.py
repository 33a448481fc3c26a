"""Turn scores into regions: threshold, drop islands, box every piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.grid import ModelGrid, upsample_planes
from model.pieces import find_pieces

__all__ = ["SourceMask", "keep_islands", "slice_boxes", "source_mask", "unite_masks"]

_CUBE = np.ones((3, 3, 3), dtype=np.bool_)

_Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class SourceMask:
    """A mask cropped to its bounding box, in the source's own voxels."""

    mask: NDArray[np.bool_]
    origin: tuple[int, int, int]
    probability: NDArray[np.uint8] | None = None
    """Shape of the mask, 255 for certain; None where nobody asked."""


def keep_islands(
    mask: NDArray[np.bool_], *, smallest: float, is_volume: bool
) -> NDArray[np.bool_]:
    """Remove islands of fewer than `smallest` voxels or 2 % of the largest island.

    Parameters
    ----------
    mask
        (slices, rows, columns) on the model grid.
    is_volume
        Islands are connected across slices; otherwise each slice stands alone.
    """
    structure = _CUBE.copy()
    if not is_volume:
        structure[[0, 2]] = False
    box = _tight(mask)
    if box is None:
        return mask
    islands, _ = ndimage.label(mask[box], structure)
    sizes = np.bincount(islands.ravel())
    sizes[0] = 0
    keep = (sizes >= smallest) & (sizes >= 0.02 * sizes.max())
    kept = np.zeros_like(mask)
    kept[box] = keep[islands]
    return kept


def source_mask(
    share: NDArray[np.float32],
    kept: NDArray[np.bool_],
    grid: ModelGrid,
    *,
    threshold: float,
    with_probability: bool = False,
) -> SourceMask:
    """Interpolate a probability map to the source and cut it at the threshold.

    Only the surroundings of `kept` are looked at, and only there is anything filled.

    Parameters
    ----------
    share
        (model slices, rows, columns) in [0, 1].
    kept
        The same shape: the islands that count.
    with_probability
        Keep what the mask is cut from, over the mask's own box.
    """
    empty = SourceMask(np.zeros((0, 0, 0), dtype=np.bool_), (0, 0, 0))
    found = _tight(kept)
    if found is None:
        return empty
    found = _wider(found, kept.shape)
    near = np.zeros_like(kept)
    near[found] = ndimage.binary_dilation(kept[found], _CUBE)
    low, high = zip(*((part.start, part.stop) for part in found), strict=True)
    first = grid.to_source(np.array([low], dtype=np.float64))[0]
    last = grid.to_source(np.array([high], dtype=np.float64))[0]
    box = tuple(
        slice(
            max(0, int(np.floor(first[axis]))),
            min(grid.source_shape[axis], int(np.ceil(last[axis])) + (axis == 0)),
        )
        for axis in range(3)
    )
    window = (box[0], box[1], box[2])
    values = np.where(near, share, 0.0).astype(np.float32)
    shape = tuple(part.stop - part.start for part in window)
    fine = np.full(shape, threshold <= 0)
    shares = np.zeros(shape if with_probability else 0, dtype=np.uint8)
    for place, plane in upsample_planes(values, grid, box=window):
        np.greater_equal(plane, threshold, out=fine[place])
        if with_probability:
            shares[place] = _in_bytes(plane)
    part = _tight(fine)
    if part is None:
        return empty
    origin = tuple(int(b.start + t.start) for b, t in zip(window, part, strict=True))
    return SourceMask(
        np.ascontiguousarray(fine[part]),
        (origin[0], origin[1], origin[2]),
        np.ascontiguousarray(shares[part]) if with_probability else None,
    )


def _tight(mask: NDArray[np.bool_]) -> _Box | None:
    """Return the bounding box of what is true; None where nothing is."""
    flat: NDArray[np.bool_] = np.any(mask, axis=0)
    found = []
    for line in (mask.any(axis=(1, 2)), flat.any(axis=1), flat.any(axis=0)):
        places = np.flatnonzero(line)
        if not len(places):
            return None
        found.append(slice(int(places[0]), int(places[-1]) + 1))
    return found[0], found[1], found[2]


def _wider(box: _Box, shape: tuple[int, ...]) -> _Box:
    """Return a box with one voxel more on each side, as far as there is one."""
    parts = [
        slice(max(0, part.start - 1), min(size, part.stop + 1))
        for part, size in zip(box, shape, strict=True)
    ]
    return parts[0], parts[1], parts[2]


def _in_bytes(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return shares in [0, 1] as bytes, 255 for 1."""
    found: NDArray[np.uint8] = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    return found


def slice_boxes(
    mask: SourceMask, *, smallest_pixels: float
) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Return slice index and corner box of each connected piece on each slice.

    Pieces under `smallest_pixels` are skipped unless they are all a slice has.
    """
    z0, y0, x0 = mask.origin
    pieces = find_pieces(mask.mask)
    most = np.zeros(len(mask.mask), dtype=np.int64)
    np.maximum.at(most, pieces.planes, pieces.pixels)
    kept = pieces.pixels >= np.minimum(smallest_pixels, most[pieces.planes])
    boxes: list[tuple[int, tuple[float, float, float, float]]] = []
    for z, (top, left, bottom, right) in zip(
        pieces.planes[kept].tolist(), pieces.boxes[kept].tolist(), strict=True
    ):
        corners = (left + x0, top + y0, right + x0, bottom + y0)
        xyxy = tuple(float(value) for value in corners)
        boxes.append((z + z0, (xyxy[0], xyxy[1], xyxy[2], xyxy[3])))
    return boxes


def unite_masks(masks: Sequence[SourceMask]) -> SourceMask:
    """Return every voxel that lies in any of the masks, cropped to their bounding box.

    Where all masks have probabilities, a voxel gets the highest of its own: it is in
    the whole at least as surely as in a part.

    Parameters
    ----------
    masks
        At least one, none of them empty.
    """
    low = np.min([mask.origin for mask in masks], axis=0)
    high = np.max([np.add(mask.origin, mask.mask.shape) for mask in masks], axis=0)
    whole = np.zeros(high - low, dtype=np.bool_)
    probability = np.zeros(whole.shape, dtype=np.uint8)
    for mask in masks:
        start = np.subtract(mask.origin, low)
        stop = start + mask.mask.shape
        place = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        whole[place] |= mask.mask
        if mask.probability is not None:
            np.maximum(probability[place], mask.probability, out=probability[place])
    is_known = all(mask.probability is not None for mask in masks)
    return SourceMask(
        whole,
        (int(low[0]), int(low[1]), int(low[2])),
        probability if is_known else None,
    )
