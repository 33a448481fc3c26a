"""Turn slices into what a model of natural images expects.

transformers' own image processors need torchvision; resizing, scaling and padding by
``preprocessor_config.json`` is all that these models ask for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model.engines.checkpoint import EngineError

__all__ = ["PictureSettings", "display_pictures", "grey_window"]

_CONFIG = "preprocessor_config.json"
_SOFT = (-160.0, 240.0)
"""Ends of the soft-tissue window, in HU."""

_PERCENTILES = (1.0, 99.5)
"""What black and white are without units, as in ``model.processing``."""

_SAMPLES = 2**22
"""Pixels that percentiles are taken from, at most: a mapped volume is never copied."""

_PADDING = 0.5
"""Value of OWLv2's padding, after scaling."""


def grey_window(pixels: NDArray[Any], modality: str) -> tuple[float, float]:
    """Return the values that are shown black and white.

    Parameters
    ----------
    pixels
        (slices, rows, columns), all that must be comparable: a volume, or one picture.
    modality
        DICOM Modality (0008,0060). CT has units and one window; everything else is
        shown between percentiles of a regular sample of all slices.
    """
    if modality.strip().upper() == "CT":
        return _SOFT
    step = int(np.ceil(np.sqrt(max(1.0, pixels.size / _SAMPLES))))
    low, high = np.percentile(pixels[:, ::step, ::step], _PERCENTILES)
    return float(low), float(high)


def display_pictures(
    pixels: NDArray[Any], windows: Sequence[tuple[float, float]]
) -> NDArray[np.uint8]:
    """Show slices as a person would see them.

    Parameters
    ----------
    pixels
        (slices, rows, columns) in modality units, or (slices, rows, columns, 3) uint8.
    windows
        One per slice, from ``grey_window``; unused for colour.

    Returns
    -------
    (slices, rows, columns, 3) uint8
    """
    if pixels.ndim == 4:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    low, high = (
        np.asarray(windows, dtype=np.float32).reshape(-1, 2, 1, 1).swapaxes(0, 1)
    )
    scale = 255.0 / np.maximum(high - low, 1e-6)
    units = np.asarray(pixels, dtype=np.float32)
    grey = ((units - low) * scale).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


@dataclass(frozen=True)
class PictureSettings:
    """How a checkpoint wants its pictures."""

    height: int | None
    width: int | None
    """Fixed size; None: by the two edges below"""
    shortest: int
    longest: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """What is taken from the scaled values, and what they are then divided by"""
    scale: float
    """What values in 0..255 are multiplied by first"""
    is_square_padded: bool
    """The picture is padded to a square at its right and lower side first (OWLv2)"""

    @classmethod
    def load(cls, folder: Path) -> PictureSettings:
        """Read ``preprocessor_config.json``, or the picture part of another one.

        Raises
        ------
        EngineError
            There is no such file, or it leaves out the size or the statistics.
        """
        raw: dict[str, Any] | None = None
        for name in (_CONFIG, "processor_config.json"):
            if (folder / name).is_file():
                raw = json.loads((folder / name).read_text(encoding="utf-8"))
                raw = raw if name == _CONFIG else raw.get("image_processor")
                break
        if raw is None:
            raise EngineError(f"no {_CONFIG}: how pictures are scaled is unknown")
        kind = str(raw.get("image_processor_type", ""))
        mean: tuple[float, ...] = (0.0,) * 3
        std: tuple[float, ...] = (1.0,) * 3
        if raw.get("do_normalize", True):
            mean, std = _three(raw, "image_mean"), _three(raw, "image_std")
        size = raw.get("size")
        if isinstance(size, int):
            size = {"height": size, "width": size}
        if not size:
            raise EngineError(f"{_CONFIG} has no size")
        return cls(
            height=size.get("height"),
            width=size.get("width"),
            shortest=int(size.get("shortest_edge") or 0),
            longest=int(size.get("longest_edge") or 10**6),
            mean=mean,
            std=std,
            scale=_scale(raw),
            is_square_padded="Owlv2" in kind,
        )

    def prepare(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Return (pictures, 3, rows, columns) float32, resized and standardised.

        Parameters
        ----------
        pictures
            (pictures, rows, columns, 3)
        """
        # A copy: read-only pixels of a mapped file cannot back a tensor.
        values = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float()
        values = values * self.scale
        if self.is_square_padded:
            side = max(values.shape[-2:])
            right, below = side - values.shape[-1], side - values.shape[-2]
            values = functional.pad(values, (0, right, 0, below), value=_PADDING)
        values = functional.interpolate(
            values,
            size=self._size(values.shape[-2], values.shape[-1]),
            mode="bilinear",
            antialias=True,
        )
        mean = torch.tensor(self.mean).view(1, 3, 1, 1)
        std = torch.tensor(self.std).view(1, 3, 1, 1)
        return (values - mean) / std

    def extent(self, rows: int, columns: int) -> tuple[float, float]:
        """Return the (width, height) that a share of 1 stands for, in source pixels."""
        if self.is_square_padded:
            return float(max(rows, columns)), float(max(rows, columns))
        return float(columns), float(rows)

    def _size(self, rows: int, columns: int) -> tuple[int, int]:
        if self.height and self.width:
            return self.height, self.width
        scale = (self.shortest or min(rows, columns)) / min(rows, columns)
        scale = min(scale, self.longest / max(rows, columns))
        return max(1, round(rows * scale)), max(1, round(columns * scale))


def _scale(raw: dict[str, Any]) -> float:
    """Return what a processor multiplies pictures by; 1 / 255 unless it says."""
    # Early OWL-ViT checkpoints call the flag "rescale".
    if not raw.get("do_rescale", raw.get("rescale", True)):
        return 1.0
    return float(raw.get("rescale_factor", 1 / 255))


def _three(raw: dict[str, Any], key: str) -> tuple[float, ...]:
    values = raw.get(key)
    if not isinstance(values, list) or len(values) != 3:
        raise EngineError(f"{_CONFIG} has no {key} of three channels")
    return tuple(float(value) for value in values)
