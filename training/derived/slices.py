"""Serve training samples without end: draw a volume, deform it, colour it, cut it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from model.config import MedGLIPConfig
from model.modality import modality_index
from model.processing import normalise_units, window_channels
from training.derived.appearance import add_surroundings, disturb, randomise_contrast
from training.derived.augment import contrast_phase, draw_slab, synthetic_ct
from training.derived.volumes import LabelledVolume

__all__ = ["Batch", "SliceStream", "collate", "draw_sample"]


@dataclass
class Batch:
    """Slices with their label maps."""

    pixels: Tensor
    """(batch, channels, rows, columns)"""
    modality: Tensor
    """(batch,)"""
    labels: Tensor
    """(batch, rows, columns) unified label values, int64"""
    volume: Tensor
    """(batch,) index of the source volume"""


def draw_sample(
    volume: LabelledVolume,
    rng: np.random.Generator,
    *,
    config: MedGLIPConfig,
    shape: tuple[int, int],
) -> tuple[NDArray[np.float32], int, NDArray[np.uint8]]:
    """Return channels, modality row and labels of one augmented slice."""
    slab = draw_slab(
        volume,
        rng,
        offsets_mm=config.slice_offsets_mm,
        shape=shape,
        pixel_mm=config.pixel_spacing_mm,
    )
    modality = volume.modality
    kind = rng.random()
    if modality == "MR":
        if kind < 0.7:
            slab, modality = synthetic_ct(slab, rng), "CT"
    elif kind < 0.75:
        slab = contrast_phase(slab, rng)
    image = slab.image
    if modality == "CT":
        if rng.random() < 0.6:
            image = add_surroundings(image, slab.labels, rng)
        image = disturb(image, rng)
    elif rng.random() < 0.5:
        image = randomise_contrast(image, rng)
    image = normalise_units(image, modality)
    if modality == "CT" and rng.random() < 0.08:
        image = randomise_contrast(image, rng)
        modality = str(rng.choice(["MR", "OT", "PT"]))
    return (
        window_channels(image),
        modality_index(modality),
        slab.labels[len(slab.labels) // 2],
    )


class SliceStream(IterableDataset[tuple[NDArray[np.float32], int, Any, int]]):
    """Yield samples for ever; sample `n` depends on the seed and `n` alone."""

    def __init__(
        self,
        volumes: tuple[LabelledVolume, ...],
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
        weights: tuple[float, ...],
        seed: int,
        start: int = 0,
    ) -> None:
        self._volumes = volumes
        self._config = config
        self._shape = shape
        self._weights = np.array(weights) / sum(weights)
        self._seed = seed
        self._start = start

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], int, Any, int]]:
        worker = get_worker_info()
        step = worker.num_workers if worker else 1
        number = self._start + (worker.id if worker else 0)
        while True:
            rng = np.random.default_rng((self._seed, number))
            index = int(rng.choice(len(self._volumes), p=self._weights))
            pixels, modality, labels = draw_sample(
                self._volumes[index], rng, config=self._config, shape=self._shape
            )
            yield pixels, modality, labels, index
            number += step


def collate(samples: list[tuple[NDArray[np.float32], int, Any, int]]) -> Batch:
    """Stack samples into a batch."""
    pixels, modality, labels, volume = zip(*samples, strict=True)
    return Batch(
        pixels=torch.from_numpy(np.stack(pixels)),
        modality=torch.tensor(modality),
        labels=torch.from_numpy(np.stack(labels).astype(np.int64)),
        volume=torch.tensor(volume),
    )
