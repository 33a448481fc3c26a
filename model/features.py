"""See a whole stack once: feature maps of every model slice, kept for all phrases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.grid import ModelGrid, Window, body_window, choose_grid, shrink
from model.medglip import MedGLIP
from model.modality import modality_index
from model.processing import STRIDE, normalise_units, window_channels
from model.records import ImageStack

__all__ = ["SLICES_AT_ONCE", "StackFeatures", "see_stack"]

SLICES_AT_ONCE = 4
"""Slices per pass through the trunk; more needs more memory and is no faster."""


@dataclass(frozen=True, eq=False)
class StackFeatures:
    """Pyramids of all model slices of one stack."""

    grid: ModelGrid
    window: Window
    """The part of the model grid that the trunk saw; may reach over its edges"""
    pyramids: list[tuple[Tensor, ...]]
    """Per batch of slices: five maps, finest first"""
    modality: str
    """DICOM Modality of the stack"""
    body_part: str | None
    """Body Part Examined, or None"""

    def place(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lay window-sized maps (slices, rows, columns) back on the model grid."""
        rows, columns = self.window
        whole = np.zeros(
            (len(values), self.grid.rows, self.grid.columns), dtype=np.float32
        )
        top, left = max(0, rows.start), max(0, columns.start)
        bottom = min(self.grid.rows, rows.stop)
        right = min(self.grid.columns, columns.stop)
        whole[:, top:bottom, left:right] = values[
            :,
            top - rows.start : bottom - rows.start,
            left - columns.start : right - columns.start,
        ]
        return whole


@torch.no_grad()
def see_stack(
    model: MedGLIP,
    stack: ImageStack,
    *,
    device: str,
    progress: Callable[[int, int], None] | None,
    slices_at_once: int = SLICES_AT_ONCE,
) -> StackFeatures:
    """Resample a stack to the model grid and run the image trunk over its slices.

    Parameters
    ----------
    progress
        Called with (slices done, slices in all) after each batch.
    slices_at_once
        Slices of one batch: fewer need less memory.
    """
    config = model.config
    pixels = _grey(stack.pixels)
    slices, rows, columns = pixels.shape
    grid = choose_grid(
        (slices, rows, columns),
        stack.spacing_mm,
        is_volume=stack.is_volume,
        pixel_mm=config.pixel_spacing_mm,
    )
    small = shrink(pixels, grid)
    groups = [small] if stack.is_volume else np.split(small, len(small))
    # A picture of its own is as bright as itself, whatever lies beside it.
    groups = [normalise_units(group, stack.modality) for group in groups]
    is_ct = stack.modality.strip().upper() == "CT"
    if is_ct:
        window = body_window(np.concatenate(groups), multiple=STRIDE)
    else:
        window = _field(grid, config.least_field)
    small = np.concatenate(
        [_pad(g, window, -1024.0 if is_ct else float(g.min())) for g in groups]
    )
    modality = torch.tensor([modality_index(stack.modality)], device=device)
    pyramids: list[tuple[Tensor, ...]] = []
    positions = grid.slice_positions
    for start in range(0, len(positions), slices_at_once):
        some = [
            window_channels(_slab(small, position, grid, config.slice_offsets_mm))
            for position in positions[start : start + slices_at_once]
        ]
        batch = torch.from_numpy(np.stack(some)).to(device)
        pyramids.append(model.see(batch, modality.expand(len(batch))))
        if progress is not None:
            progress(min(start + slices_at_once, len(positions)), len(positions))
    return StackFeatures(
        grid=grid,
        window=window,
        pyramids=pyramids,
        modality=stack.modality,
        body_part=stack.body_part,
    )


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (slices, rows, columns) float32; colour becomes its luminance.

    References
    ----------
    Rec. ITU-R BT.601-7, section 2.5.1.
    """
    if pixels.ndim == 4:
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        return np.asarray(pixels @ weights, dtype=np.float32)
    return np.asarray(pixels, dtype=np.float32)


def _field(grid: ModelGrid, least: tuple[int, int]) -> Window:
    """Return the whole picture, centred in a field no smaller than training's.

    Normalisation over the field sees how much of it is empty: a head that fills a
    small field would look like nothing that was learned.
    """
    parts = []
    for side, smallest in zip((grid.rows, grid.columns), least, strict=True):
        size = max(-(-side // STRIDE) * STRIDE, smallest)
        first = (side - size) // 2
        parts.append(slice(first, first + size))
    return parts[0], parts[1]


def _pad(
    pixels: NDArray[np.float32], window: Window, value: float
) -> NDArray[np.float32]:
    """Cut a window out of every slice, filling what lies outside with `value`."""
    rows, columns = window
    _, height, width = pixels.shape
    inside = pixels[
        :,
        max(0, rows.start) : min(height, rows.stop),
        max(0, columns.start) : min(width, columns.stop),
    ]
    before = (max(0, -rows.start), max(0, -columns.start))
    after = (max(0, rows.stop - height), max(0, columns.stop - width))
    return np.pad(
        inside,
        ((0, 0), (before[0], after[0]), (before[1], after[1])),
        constant_values=value,
    )


def _slab(
    pixels: NDArray[np.float32],
    position: float,
    grid: ModelGrid,
    offsets_mm: tuple[float, ...],
) -> NDArray[np.float32]:
    """Gather neighbouring slices at the offsets; the stack's ends repeat.

    Independent pictures have no neighbours: the picture itself stands for them.
    """
    if not grid.slice_mm:
        return np.stack([pixels[round(position)]] * len(offsets_mm))
    planes = []
    for offset in offsets_mm:
        z = float(np.clip(position + offset / grid.slice_mm, 0, len(pixels) - 1))
        low = int(z)
        share = np.float32(z - low)
        high = min(low + 1, len(pixels) - 1)
        planes.append(pixels[low] * (1 - share) + pixels[high] * share)
    return np.stack(planes)
