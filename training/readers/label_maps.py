"""Load label maps once for all regions of an image, and make masks of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import DatasetError
from training.readers.source import Laterality, Mask
from training.readers.volumes import (
    VolumeFile,
    check_same_grid,
    open_volume,
    place_of,
    read_plane,
)

__all__ = ["LabelMap", "label_mask", "load_labels", "side_of"]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map in memory."""

    array: npt.NDArray[np.int32]
    """(slices, rows, columns), or one plane as stored; read-only"""

    @cached_property
    def values(self) -> frozenset[int]:
        """Every value that occurs."""
        return frozenset(np.unique(self.array).tolist())


def load_labels(
    volume: VolumeFile, *, channel: int | None = None, plane: int | None = None
) -> LabelMap:
    """Load a label map, or one `plane` of it as stored; the latest is remembered.

    The regions of an image share a file, and reading it again for each would cost
    more than everything else. One map is kept, so memory does not grow.

    Raises
    ------
    DatasetError
        The file cannot be read, or holds values that are no whole numbers.
    """
    modified_ns = volume.path.stat().st_mtime_ns
    key = (volume.path, volume.channels_first, channel, plane, modified_ns)
    return _remembered_labels(*key)


@lru_cache(maxsize=1)
def _remembered_labels(
    path: Path,
    channels_first: bool,
    channel: int | None,
    plane: int | None,
    _modified_ns: int,
) -> LabelMap:
    volume = open_volume(path, channels_first=channels_first)
    values = volume.read(channel) if plane is None else read_plane(volume, plane)
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not np.isfinite(values).all() or np.abs(values - whole).max() > 1e-3:
            raise DatasetError(
                f"{place_of(path)}: holds labels that are no whole numbers"
            )
        values = whole
    labels = values.astype(np.int32)
    labels.setflags(write=False)
    return LabelMap(labels)


def label_mask(
    labels: VolumeFile,
    values: Collection[int],
    *,
    image: VolumeFile | None = None,
    channel: int | None = None,
    plane: int | None = None,
    known: Collection[int] | None = None,
) -> Callable[[], Mask]:
    """Return a loader of the mask where a label map has one of the values.

    Parameters
    ----------
    labels : VolumeFile
    values : collection of int
    image : VolumeFile, optional
        Must lie on the same grid; compared before the mask is read.
    channel, plane : int, optional
        As for `load_labels`.
    known : collection of int, optional
        All values that the map may hold, 0 apart.
    """
    wanted = sorted(values)

    def load() -> Mask:
        if image is not None:
            check_same_grid(image, labels)
        found = load_labels(labels, channel=channel, plane=plane)
        strange = () if known is None else sorted(found.values - {0, *known})
        if strange:
            names = ", ".join(map(str, strange))
            raise DatasetError(f"{place_of(labels.path)}: holds unknown labels {names}")
        if len(wanted) == 1:
            wanted_mask: Mask = found.array == wanted[0]
            return wanted_mask
        return np.isin(found.array, wanted)

    return load


def side_of(label: str) -> Laterality | None:
    """Return the side that a label names by a word of its own; None: none, or both."""
    words = set(label.lower().replace("_", " ").replace("-", " ").split())
    sides: list[Laterality] = ["L"] if "left" in words else []
    if "right" in words:
        sides.append("R")
    return sides[0] if len(sides) == 1 else None
