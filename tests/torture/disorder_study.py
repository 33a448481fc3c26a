"""A study to be sent in disorder: some of it late, one UID with two contents."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from dicom_node.identity import derive_uid
from tests.builders.dicom_series import make_ct_series

__all__ = ["SentStudy", "data_set_sha256", "make_study"]

_LATE = 0.1


@dataclass(frozen=True, slots=True)
class SentStudy:
    """Its files.

    Attributes
    ----------
    seed : int
        Of what is random.
    uid : str
        Study Instance UID.
    on_time, late : sequence of pathlib.Path
        What is sent first, and what is sent when it was complete.
    contested : str
        The SOP Instance UID that two of the files have, with other pixels.
    contents : frozenset of (str, str)
        SOP Instance UID and hash of the data set of every file.

    """

    seed: int
    uid: str
    on_time: Sequence[Path]
    late: Sequence[Path]
    contested: str
    contents: frozenset[tuple[str, str]]


def data_set_sha256(path: Path) -> str:
    """Return the hash of the data set of a file, without its meta information."""
    data = path.read_bytes()
    # PS3.10 7.1: preamble, prefix, (0002,0000) with the length of the rest.
    return hashlib.sha256(
        data[144 + int.from_bytes(data[140:144], "little") :]
    ).hexdigest()


def make_study(folder: Path, *, seed: int, slices: int) -> SentStudy:
    """Write a study; the same seed writes the same."""
    draw = random.Random(seed)
    uid = derive_uid("disorder", str(seed))
    series = make_ct_series(
        folder, slices=slices, rows=16, columns=16, study_uid=uid, name=f"s{seed}"
    )
    paths = list(series.paths)
    draw.shuffle(paths)
    late = paths[: max(1, round(_LATE * slices))]
    on_time = paths[len(late) :]
    first = draw.choice(on_time)
    other = folder / "other.dcm"
    ds = dcmread(first)
    pixels = bytearray(ds.PixelData)
    pixels[draw.randrange(len(pixels) // 2) * 2] ^= 1
    ds.PixelData = bytes(pixels)
    ds.save_as(other)
    # Its second content comes among the first images, or when all seemed complete.
    (on_time if draw.random() < 0.5 else late).append(other)
    return SentStudy(
        seed,
        uid,
        on_time,
        late,
        str(ds.SOPInstanceUID),
        frozenset(
            (
                str(dcmread(path, stop_before_pixels=True).SOPInstanceUID),
                data_set_sha256(path),
            )
            for path in (*series.paths, other)
        ),
    )
