"""Hold one row per sample of a build: what is decided about all of them at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.lib import recfunctions
from numpy.typing import NDArray

from training.build.blocks import ROW, BlockTask, block_files

__all__ = ["SampleTable"]

_COUNTS = ("images", "images_without_sample", "samples", "regions")


class SampleTable:
    """The results of all blocks; thumbnails stay on disk.

    Parameters
    ----------
    tasks
        Finished blocks, in the order of the build.
    """

    rows: NDArray[Any]
    """(samples,) of `ROW` without its thumbnail"""

    def __init__(self, tasks: Sequence[BlockTask]) -> None:
        self._files = [block_files(Path(task.folder), task.number) for task in tasks]
        self._datasets = [task.spec.id for task in tasks]
        self._summaries = [
            json.loads(files[2].read_text(encoding="utf-8")) for files in self._files
        ]
        slim = [name for name in ROW.names or () if name != "thumbnail"]
        kind = np.dtype([(name, ROW[name]) for name in slim])
        parts = [np.empty(0, dtype=kind)]
        for files in self._files:
            whole = _mapped(files[1])
            parts.append(recfunctions.repack_fields(whole[slim]).astype(kind))
        self.rows = np.concatenate(parts)
        self._starts = np.cumsum([len(part) for part in parts])[:-1]

    def __len__(self) -> int:
        return len(self.rows)

    def _block(self, sample: int) -> int:
        return int(np.searchsorted(self._starts, sample, side="right")) - 1

    def chunks(self, sample: int) -> Path:
        """Return the file that holds a sample."""
        return self._files[self._block(sample)][0]

    def thumbnail(self, sample: int) -> NDArray[np.uint8]:
        """Load the (32, 32) thumbnail of a sample."""
        block = self._block(sample)
        rows = _mapped(self._files[block][1])
        return np.array(rows["thumbnail"][sample - int(self._starts[block])])

    def samples_of(self, dataset: str) -> list[int]:
        """Return the rows of a dataset."""
        found: list[int] = []
        ends = [*self._starts[1:], len(self.rows)]
        for name, start, end in zip(self._datasets, self._starts, ends, strict=True):
            if name == dataset:
                found.extend(range(int(start), int(end)))
        return found

    def counts(self, dataset: str) -> dict[str, int]:
        """Return how many images, samples and regions a dataset gave."""
        mine = self._of(dataset)
        return {name: sum(int(one[name]) for one in mine) for name in _COUNTS}

    def drops(self, dataset: str) -> dict[str, int]:
        """Return what was left out before duplicates were looked for, by reason."""
        total: Counter[str] = Counter()
        for summary in self._of(dataset):
            total.update(summary["dropped"])
        return {reason: total[reason] for reason in sorted(total)}

    def _of(self, dataset: str) -> list[dict[str, Any]]:
        pairs = zip(self._datasets, self._summaries, strict=True)
        return [summary for name, summary in pairs if name == dataset]


@lru_cache(maxsize=64)
def _mapped(path: Path) -> NDArray[Any]:
    """Map the rows of a block; what it holds never changes under one name."""
    return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))
