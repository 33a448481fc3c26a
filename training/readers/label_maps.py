"""Load label maps once for all regions of an image, and make masks of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import DatasetError
from training.readers.source import Laterality, Mask
from training.readers.volume_files import place_of
from training.readers.volumes import VolumeFile, check_same_grid, read_plane

__all__ = ["LabelMap", "label_mask", "load_labels", "side_of"]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map in memory."""

    array: npt.NDArray[np.integer[Any]]
    """(slices, rows, columns), or one plane as stored; read-only, as narrow as its
    values allow"""

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
    turned = volume.affine_ras.tobytes()
    return _remembered_labels(
        _Key(volume, (volume.path, modified_ns, turned, channel, plane)),
        channel,
        plane,
    )


class _Key:
    """A volume that equals another one of the same file, content and grid."""

    def __init__(self, volume: VolumeFile, identity: tuple[object, ...]) -> None:
        self.volume = volume
        self._identity = identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._identity == other._identity


@lru_cache(maxsize=1)
def _remembered_labels(key: _Key, channel: int | None, plane: int | None) -> LabelMap:
    volume = key.volume
    values = volume.read(channel) if plane is None else read_plane(volume, plane)
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not np.isfinite(values).all() or np.abs(values - whole).max() > 1e-3:
            raise DatasetError(
                f"{place_of(volume.path)}: holds labels that are no whole numbers"
            )
        values = whole
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    kind = np.result_type(np.min_scalar_type(low), np.min_scalar_type(high))
    labels = values.astype(kind if kind.kind in "iu" else np.int32, copy=False)
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
) -> partial[Mask]:
    """Return what loads the mask where a label map has one of the values.

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
    return partial(
        _load_mask,
        labels,
        tuple(sorted(set(values))),
        image=image,
        channel=channel,
        plane=plane,
        known=None if known is None else frozenset(known),
    )


def _load_mask(
    labels: VolumeFile,
    values: tuple[int, ...],
    *,
    image: VolumeFile | None,
    channel: int | None,
    plane: int | None,
    known: frozenset[int] | None,
) -> Mask:
    if image is not None:
        check_same_grid(image, labels)
    found = load_labels(labels, channel=channel, plane=plane)
    strange = [] if known is None else sorted(found.values - {0, *known})
    if strange:
        names = ", ".join(map(str, strange))
        raise DatasetError(f"{place_of(labels.path)}: holds unknown labels {names}")
    if len(values) == 1:
        return np.asarray(found.array == values[0])
    return np.isin(found.array, values)


def side_of(label: str) -> Laterality | None:
    """Return the side that a label names by a word of its own; None: none, or both."""
    words = set(label.lower().replace("_", " ").replace("-", " ").split())
    sides: list[Laterality] = ["L"] if "left" in words else []
    if "right" in words:
        sides.append("R")
    return sides[0] if len(sides) == 1 else None
