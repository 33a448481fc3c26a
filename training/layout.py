"""Lay a build out on disk: what lies where, and how to read it back.

::

    OUT/
      build.json            settings, versions, counts, and every drop with its reason
      card.md, card/*.png   the data card and its pictures
      ATTRIBUTION.md        whom to name, and under which licence
      records.jsonl         every record, in the order of the shards
      records.idx           int64, little endian: where each line begins, then the end
      shards.json           the shards in order, see `Shard`
      shards/shard-000000.tar, shards/shard-000000.idx, ...

A shard is a WebDataset: a plain tar whose members of one sample share the name before
the first dot and lie side by side. It holds samples of one split only, already in a
shuffled order (that of a hash), so that neighbours in it are not neighbours in a
volume. ``shard-000000.idx`` is int64, little endian: the offset of each sample's first
header in the tar, then the end of the last sample. Sample ``n`` of a shard is line
``first + n`` of ``records.jsonl``.

A sample has these members, in this order:

``KEY.json``
    The `training.records.ImageRecord`, the same line as in ``records.jsonl``. Its
    ``filename`` is ``KEY.png`` (``KEY.jpg``), its ``sha256`` that of the decoded
    pixels (`pixel_digest`).
``KEY.picture.json``
    How stored values become modality units, see `PictureInfo`.
``KEY.png`` or ``KEY.jpg``
    The picture: 8 or 16 bit grey, or RGB.
``KEY.n0.png``, ``KEY.n1.png``, ...
    Slices of a volume beside the picture, in the order of ``PictureInfo.neighbours``,
    with the same scale. At the end of a volume the nearest slice stands in.

What a region says:

- ``phrase`` is what is asked, ``label`` what it means as ``label_space`` spells it.
  Compare `label` with ``label_space``, never the phrase.
- ``status == "absent"`` has no box and is a negative. A label of ``label_space`` that
  no region has, is absent, too.
- ``ignore`` is neither positive nor negative. So is a region that is ``present``
  without a place (a report states it and nobody drew it): it is always ``ignore``.
- ``mask`` is one mask per box, on the stored picture; None: only boxes are known.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.errors import DatasetError
from training.records import ImageRecord

__all__ = [
    "ATTRIBUTION_FILE",
    "BUILD_FILE",
    "CARD_FILE",
    "INDEX_FILE",
    "RECORDS_FILE",
    "SHARDS_FILE",
    "SHARDS_FOLDER",
    "Neighbour",
    "PictureInfo",
    "RecordFile",
    "Shard",
    "decode_picture",
    "display_picture",
    "index_of",
    "iterate_shard",
    "pixel_digest",
    "read_sample",
    "read_shards",
    "stored_slab",
    "to_units",
]

BUILD_FILE = "build.json"
"""Settings, versions, counts and drops."""
CARD_FILE = "card.md"
"""The data card."""
ATTRIBUTION_FILE = "ATTRIBUTION.md"
"""Whom to name."""
RECORDS_FILE = "records.jsonl"
"""One `ImageRecord` a line."""
INDEX_FILE = "records.idx"
"""Where each line begins."""
SHARDS_FILE = "shards.json"
"""The list of shards."""
SHARDS_FOLDER = "shards"
"""Where the tar files are."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file of a build."""

    name: str
    """File name in ``shards/``"""
    split: str
    """train, val or test"""
    samples: int
    first: int
    """Line of its first sample in ``records.jsonl``"""
    bytes: int
    sha256: str
    """Of the tar file"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A slice stored beside the picture."""

    offset: int
    """Slices above (positive: towards the head) the picture's own"""
    offset_mm: float
    """The same in millimetres; what was asked for where the volume says no spacing"""


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """How stored values become modality units: ``stored * scale + intercept``."""

    scale: float
    intercept: float
    units: str
    """``HU``; ``relative``: no absolute unit, `model.processing.normalise_units` is to
    treat it as it treats any modality but CT; ``rgb``"""
    low: float
    """1st percentile of the whole image or volume, in units: what
    `model.processing.normalise_units` sees when the node is asked about it"""
    high: float
    """99.5th percentile of the same"""
    source_size: tuple[int, int]
    """(rows, columns) before the cap on the long side"""
    neighbours: tuple[Neighbour, ...] = ()

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> PictureInfo:
        """Read what `to_json` wrote."""
        raw = json.loads(line)
        raw["neighbours"] = tuple(Neighbour(**item) for item in raw["neighbours"])
        raw["source_size"] = tuple(raw["source_size"])
        return cls(**raw)


def pixel_digest(pixels: NDArray[Any]) -> str:
    """Return the SHA-256 of decoded pixels: of their shape, type and values."""
    head = f"{pixels.shape}|{pixels.dtype.newbyteorder('<').str}|".encode()
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(head + np.ascontiguousarray(little).tobytes()).hexdigest()


def decode_picture(data: bytes) -> NDArray[Any]:
    """Decode a member into (rows, columns) uint8 or uint16, or (rows, columns, 3)."""
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture)
    return pixels.astype(np.uint16) if pixels.dtype.itemsize > 1 else pixels


def to_units(stored: NDArray[Any], info: PictureInfo) -> NDArray[np.float32]:
    """Return stored values in modality units; HU of a CT come back exactly."""
    return (stored.astype(np.float64) * info.scale + info.intercept).astype(np.float32)


def display_picture(stored: NDArray[Any], info: PictureInfo) -> NDArray[np.uint8]:
    """Return (rows, columns, 3) for the eye: HU in a soft-tissue window."""
    if info.units == "rgb":
        return np.array(stored, dtype=np.uint8)
    low, high = (-160.0, 240.0) if info.units == "HU" else (info.low, info.high)
    scaled = (to_units(stored, info) - low) / max(high - low, 1e-6)
    grey = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def stored_slab(
    members: Mapping[str, bytes],
) -> tuple[NDArray[Any], tuple[int, ...], PictureInfo]:
    """Decode the picture of a sample together with its neighbours.

    Parameters
    ----------
    members
        Extension to bytes, as `iterate_shard` yields them.

    Returns
    -------
    (slices, rows, columns[, 3]) of stored values, lowest slice first; the slice offset
    of each; how to turn them into units.
    """
    info = PictureInfo.from_json(members["picture.json"])
    picture = members["png"] if "png" in members else members["jpg"]
    parts = {0: decode_picture(picture)}
    for number, neighbour in enumerate(info.neighbours):
        parts.setdefault(neighbour.offset, decode_picture(members[f"n{number}.png"]))
    offsets = tuple(sorted(parts))
    return np.stack([parts[offset] for offset in offsets]), offsets, info


def read_shards(folder: Path) -> tuple[Shard, ...]:
    """Read ``shards.json`` of a build.

    Raises
    ------
    DatasetError
        The folder holds no finished build.
    """
    path = folder / SHARDS_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return tuple(Shard(**item) for item in raw["shards"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is no list of shards: {error}") from error


def index_of(shard: Path) -> NDArray[np.int64]:
    """Read where the samples of a shard begin, and the end: (samples + 1,)."""
    return np.fromfile(shard.with_suffix(".idx"), dtype="<i8").astype(np.int64)


def iterate_shard(shard: Path, *, start: int = 0) -> Iterator[dict[str, bytes]]:
    """Yield the samples of a shard from number `start` on, without unpacking it.

    Yields
    ------
    ``{"__key__": the key in ASCII, extension: bytes}``
    """
    offsets = index_of(shard)
    if not 0 <= start < len(offsets):
        raise DatasetError(f"{shard.name} has no sample {start}")
    with shard.open("rb") as stream:
        for begin, end in zip(offsets[start:-1], offsets[start + 1 :], strict=True):
            stream.seek(int(begin))
            yield read_sample(stream.read(int(end - begin)))


def read_sample(data: bytes) -> dict[str, bytes]:
    """Read the members of one sample; its bytes are a tar without an end.

    Returns
    -------
    As `iterate_shard` yields them.
    """
    sample: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            content = tar.extractfile(member)
            if content is None or sample.setdefault("__key__", key.encode()) != (
                key.encode()
            ):
                raise DatasetError("the index of a shard does not fit its tar")
            sample[extension] = content.read()
    return sample


class RecordFile:
    """Random access to ``records.jsonl``; memory stays flat.

    Parameters
    ----------
    folder
        A finished build.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORDS_FILE
        self._offsets = np.memmap(folder / INDEX_FILE, dtype="<i8", mode="r")
        if int(self._offsets[-1]) != self._path.stat().st_size:
            raise DatasetError(f"{INDEX_FILE} does not fit {RECORDS_FILE}")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def line(self, number: int) -> bytes:
        """Return line `number` without its newline."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        begin, end = self._offsets[number : number + 2]
        with self._path.open("rb") as stream:
            stream.seek(int(begin))
            return stream.read(int(end - begin) - 1)

    def __getitem__(self, number: int) -> ImageRecord:
        return ImageRecord.from_json(self.line(number))

    def __iter__(self) -> Iterator[ImageRecord]:
        with self._path.open("rb") as stream:
            for line in stream:
                yield ImageRecord.from_json(line)
