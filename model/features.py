"""See a whole stack once: feature maps of every model slice, kept for all phrases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

__all__ = ["SLICES_AT_ONCE", "See", "StackFeatures", "memory_format", "see_stack"]

See = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Turns pictures and rows of ``MODALITIES`` into feature pyramids, finest first."""

SLICES_AT_ONCE = 4
"""Slices per pass through the trunk; more needs more memory and is no faster."""


def memory_format(device: str) -> torch.memory_format:
    """Return how pixels and weights lie in a device's memory.

    CUDA convolves faster with the channels of a pixel side by side. On a CPU group
    normalisation of such pixels sums variances in a way that cancels: where the mean
    is large beside the spread, it loses four of seven digits.
    """
    is_cuda = torch.device(device).type == "cuda"
    return torch.channels_last if is_cuda else torch.contiguous_format


@dataclass(frozen=True, eq=False)
class StackFeatures:
    """Pyramids of all model slices of one stack."""

    grid: ModelGrid
    window: Window
    """The part of the model grid that the trunk saw; may reach over its edges"""
    pyramids: list[tuple[Tensor, ...]]
    """Per batch of slices: five maps, finest first; only the first and the last of
    them where the core is not asked"""
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


@torch.inference_mode()
def see_stack(
    model: MedGLIP,
    stack: ImageStack,
    *,
    device: str,
    progress: Callable[[int, int], None] | None,
    slices_at_once: int = SLICES_AT_ONCE,
    see: See | None = None,
    for_core: bool = True,
) -> StackFeatures:
    """Resample a stack to the model grid and run the image trunk over its slices.

    Slices are gathered, windowed and seen on the device; what crosses to it is the
    stack on the model grid, once.

    Parameters
    ----------
    progress
        Called with (slices done, slices in all) after each batch.
    slices_at_once
        Slices of one batch: fewer need less memory.
    see
        Runs the trunk; None: the network's own way.
    for_core
        False: the maps that only the detection core reads are not kept.
    """
    config = model.config
    slices, rows, columns = stack.pixels.shape[:3]
    grid = choose_grid(
        (slices, rows, columns),
        stack.spacing_mm,
        is_volume=stack.is_volume,
        pixel_mm=config.pixel_spacing_mm,
    )
    small = shrink(stack.pixels, grid)
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
    placed = torch.from_numpy(small).to(device)
    modality = torch.tensor([modality_index(stack.modality)], device=device)
    pyramids: list[tuple[Tensor, ...]] = []
    positions = grid.slice_positions
    see = see or model.see
    for start in range(0, len(positions), slices_at_once):
        some = positions[start : start + slices_at_once]
        batch = window_channels(_slabs(placed, some, grid, config.slice_offsets_mm))
        batch = batch.contiguous(memory_format=memory_format(device))
        pyramid = see(batch, modality.expand(len(batch)))
        pyramids.append(pyramid if for_core else (pyramid[0], pyramid[-1]))
        if progress is not None:
            progress(min(start + slices_at_once, len(positions)), len(positions))
    return StackFeatures(
        grid=grid,
        window=window,
        pyramids=pyramids,
        modality=stack.modality,
        body_part=stack.body_part,
    )


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


def _slabs(
    pixels: Tensor,
    positions: Sequence[float],
    grid: ModelGrid,
    offsets_mm: tuple[float, ...],
) -> Tensor:
    """Gather the neighbours of each position at the offsets; the stack's ends repeat.

    Independent pictures have no neighbours: the picture itself stands for them.

    Returns
    -------
    (positions, offsets, rows, columns)
    """
    if not grid.slice_mm:
        alone = pixels[[round(position) for position in positions]]
        return alone[:, None].expand(-1, len(offsets_mm), -1, -1)
    last = len(pixels) - 1
    z = np.add.outer(np.array(positions), np.array(offsets_mm) / grid.slice_mm)
    z = z.clip(0, last)
    low = torch.from_numpy(z.astype(np.int64)).to(pixels.device)
    share = torch.from_numpy((z - np.floor(z)).astype(np.float32)).to(pixels.device)
    share = share[..., None, None]
    high = (low + 1).clamp(max=last)
    return (pixels[low] * (1 - share)).add_(pixels[high].mul_(share))
