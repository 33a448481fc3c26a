"""Prepare pixels: the one road from modality units to network input.

Training and serving both call these functions, so what was learned is what is asked.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["STRIDE", "normalise_units", "window_channels"]

STRIDE = 16
"""Both sides of a network input are multiples of this."""

_SOFT = (-160.0, 240.0)
_LUNG = (-1000.0, 200.0)
_BONE = (-200.0, 1200.0)


def normalise_units(pixels: NDArray[np.float32], modality: str) -> NDArray[np.float32]:
    """Bring the pixels of one stack to Hounsfield units or to their likeness.

    CT is clipped to [-1024, 3071]. Everything else has no absolute unit: its 1st and
    99.5th percentile are laid on the ends of the soft-tissue window.

    Parameters
    ----------
    pixels
        Any shape, in modality units, finite.
    modality
        DICOM Modality (0008,0060).
    """
    if modality.strip().upper() == "CT":
        clipped: NDArray[np.float32] = np.clip(pixels, -1024.0, 3071.0)
        return clipped.astype(np.float32)
    low, high = np.percentile(pixels, (1.0, 99.5))
    scale = (_SOFT[1] - _SOFT[0]) / max(float(high - low), 1e-6)
    return np.asarray((pixels - low) * scale + _SOFT[0], dtype=np.float32)


def window_channels(slabs: Tensor) -> Tensor:
    """Turn slabs of neighbouring slices into network channels, where they lie.

    Parameters
    ----------
    slabs
        (..., offsets, rows, columns) float32 in (pseudo) Hounsfield units; the centre
        slice is the middle one.

    Returns
    -------
    (..., offsets + 2, rows, columns) in [-1, 1]: the soft-tissue window of every slice,
    then the lung and the bone window of the centre.
    """
    middle = slabs.shape[-3] // 2
    centre = slabs[..., middle : middle + 1, :, :]
    windows = (_window(slabs, _SOFT), _window(centre, _LUNG), _window(centre, _BONE))
    return torch.cat(windows, dim=-3)


def _window(pixels: Tensor, ends: tuple[float, float]) -> Tensor:
    low, high = ends
    return (pixels - low).mul_(2.0 / (high - low)).sub_(1.0).clamp_(-1.0, 1.0)
