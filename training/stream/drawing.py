"""Draw a batch by its number, the same whenever and wherever it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from model.config import MedGLIPConfig
from training.batch import Batch
from training.errors import DatasetError, TrainingError
from training.layout import RECORDS_FILE
from training.stream.order import Order
from training.stream.picture import Drawn, PlacedPicture, draw_picture
from training.stream.store import SampleStore
from training.stream.wording import choose_phrases, word_pictures

__all__ = ["BatchDrawer", "DrawnBatch", "NumberedBatches"]


@dataclass
class DrawnBatch:
    """A batch, and the lines of the samples that could not be read."""

    batch: Batch
    bad: tuple[int, ...]


class NumberedBatches(IterableDataset[DrawnBatch]):
    """Deal the numbers of batches to the workers of one process."""

    def __init__(self, drawer: BatchDrawer, first: int, step: int) -> None:
        self._drawer, self._first, self._step = drawer, first, step

    def __iter__(self) -> Iterator[DrawnBatch]:
        worker = get_worker_info()
        turn = worker.id if worker else 0
        while True:
            yield self._drawer.draw(self._first + turn * self._step)
            turn += worker.num_workers if worker else 1


@dataclass(frozen=True, kw_only=True)
class BatchDrawer:
    """Draw batch `number`, the same whenever and wherever it is drawn."""

    store: SampleStore
    order: Order
    config: MedGLIPConfig
    shape: tuple[int, int]
    batch: int
    phrases: int
    contrast_phrases: int
    seed: int
    mirror: float | None
    skip_bad: bool

    def draw(self, number: int) -> DrawnBatch:
        """Return the batch and what was left out of it."""
        pictures: list[PlacedPicture] = []
        bad: list[int] = []
        for draw in range(number * self.batch, (number + 1) * self.batch):
            try:
                pictures.append(self._picture(draw))
            except TrainingError as error:
                # A line number names no person, as a file name may.
                line = self.order.sample(draw)
                if not self.skip_bad:
                    raise DatasetError(
                        f"line {line} of {RECORDS_FILE}: {error}"
                    ) from error
                bad.append(line)
        if not pictures:
            raise DatasetError(f"batch {number} has no readable sample")
        rng = np.random.default_rng((self.seed, 1, number))
        asked = choose_phrases(pictures, rng, count=self.phrases)
        batch = word_pictures(
            pictures, asked, rng, contrast_phrases=self.contrast_phrases
        )
        return DrawnBatch(batch, tuple(bad))

    def _picture(self, draw: int) -> PlacedPicture:
        chance = Drawn()
        if self.mirror is not None:
            rng = np.random.default_rng((self.seed, 0, draw))
            chance = Drawn.draw(rng, mirror=self.mirror)
        return draw_picture(
            self.store.members(self.order.sample(draw)),
            config=self.config,
            shape=self.shape,
            drawn=chance,
        )
