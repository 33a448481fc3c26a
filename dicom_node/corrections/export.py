"""Corrections as training data: one folder for each picture, nobody's name in any.

::

    OUT/node-corrections.json            that this is such a folder, and of which salt
    OUT/images/<key>/image.json          phrases, regions, codes, where they come from
    OUT/images/<key>/pixels.npy          canonical axes, modality units, MONOCHROME2
    OUT/images/<key>/mask-<n>.npy        one bit a voxel, in the order of the pixels

``training/readers/node_corrections.py`` reads it. Pixels are as they were: faces and
words that no header tells of stay in them.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.corrections.corrected import (
    digest_of,
    newest_by_region,
    read_corrected,
)
from dicom_node.corrections.pseudonyms import Pseudonyms
from dicom_node.corrections.training_images import TrainingImage, training_images
from dicom_node.durable import write_whole
from dicom_node.errors import NodeError, SettingsError
from dicom_node.imaging import PixelReader
from dicom_node.records import ImageSeries
from dicom_node.store import Store
from dicom_node.store.corrections import Correction

__all__ = ["MARKER", "SCHEMA", "ExportReport", "export_corrections"]

MARKER = "node-corrections.json"
SCHEMA = "dicom-node-corrections/1"

Progress = Callable[[int, int], None]
"""Told how many studies are done, and of how many."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, and what it left out and why."""

    written: int
    """Pictures."""
    kept: int
    """Pictures that were there and are still true."""
    counts: dict[str, int]
    """Regions by what was said of them, and by why they were left out."""


def export_corrections(
    store: Store,
    out: Path,
    *,
    data_dir: Path,
    reader: PixelReader,
    pseudonyms: Pseudonyms,
    studies: Iterable[str] = (),
    since: datetime | None = None,
    progress: Progress = lambda _done, _total: None,
) -> ExportReport:
    """Write what people corrected to a folder; what is there already is kept.

    Parameters
    ----------
    store : Store
        The node's memory.
    out : pathlib.Path
        A folder of an earlier export, an empty one, or none yet.
    data_dir : pathlib.Path
        The node's files.
    reader : PixelReader
        Decodes the pictures.
    pseudonyms : Pseudonyms
        Names patients, studies, pictures and people.
    studies : iterable of str
        Study Instance UIDs; all that were corrected when empty.
    since : datetime, optional
        Only studies with a correction at or after it.
    progress : callable
        Told after each study.

    Raises
    ------
    SettingsError
        The folder holds something else, or pictures named with another salt.

    """
    _claim(out, pseudonyms)
    said = store.corrections.by_study(since=since)
    wanted = set(studies) or set(said)
    chosen = [uid for uid in said if uid in wanted]
    counts: Counter[str] = Counter()
    counts["left out: no such study was corrected"] = len(wanted - set(said))
    totals = Counter[str]()
    pixels = _Pixels(reader)
    there = _folders_by_study(out / "images")
    for number, uid in enumerate(chosen):
        progress(number, len(chosen))
        stale = there.get(pseudonyms.of("study", uid), set())
        try:
            for image in _images(
                store, uid, said[uid], data_dir, pseudonyms, counts=counts
            ):
                totals[_write(image, out / "images", pixels)] += 1
                stale.discard(image.key)
            for key in stale:  # nothing is said of it any more
                shutil.rmtree(out / "images" / key)
        except OSError as error:
            raise SettingsError(f"{out}: it cannot be written") from error
        except NodeError:
            # One study that cannot be read again must not hold back the others.
            counts["left out: studies that cannot be read again"] += 1
    progress(len(chosen), len(chosen))
    found = {key: value for key, value in sorted(counts.items()) if value}
    return ExportReport(totals["written"], totals["kept"], found)


def _images(
    store: Store,
    uid: str,
    said: tuple[Correction, ...],
    data_dir: Path,
    pseudonyms: Pseudonyms,
    *,
    counts: Counter[str],
) -> Iterable[TrainingImage]:
    """Yield the pictures of the newest version that was corrected."""
    content_version = max(said, key=lambda one: one.id).content_version
    older = {
        (one.content_version, one.tracking_uid)
        for one in said
        if one.content_version != content_version
    }
    counts["left out: of an older version of the results"] += len(older)
    version = store.details.shown_version(uid, content_version)
    if version is None:
        counts["left out: studies that cannot be read again"] += 1
        return
    newest = newest_by_region(said, content_version)
    read = read_corrected(store, version, newest, data_dir=data_dir)
    made_of = [read.kept.report.sop_instance_uid, digest_of(read.newest)]
    for image in training_images(
        read.kept, read.newest, pseudonyms=pseudonyms, counts=counts
    ):
        image.document["digest"] = pseudonyms.of("digest", *made_of)
        yield image


def _claim(out: Path, pseudonyms: Pseudonyms) -> None:
    marker = out / MARKER
    check = pseudonyms.of("salt", "check")
    try:
        if marker.exists():
            said = json.loads(marker.read_bytes())
            if said.get("schema") != SCHEMA:
                raise SettingsError(f"{out} is of another kind of export")
            if said.get("salt_check") != check:
                msg = f"{out} was written with another salt: choose another folder"
                raise SettingsError(msg)
            return
        if out.exists() and any(out.iterdir()):
            msg = f"{out} holds something else: choose an empty or a new folder"
            raise SettingsError(msg)
        (out / "images").mkdir(parents=True)
        _write_json(
            marker, {"schema": SCHEMA, "licence": "private", "salt_check": check}
        )
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(f"{out}: it cannot be written or read") from error


class _Pixels:
    """Decodes series; the last one is kept, for all pictures of its frames."""

    def __init__(self, reader: PixelReader) -> None:
        self._reader = reader
        self._last: tuple[ImageSeries, npt.NDArray[Any]] | None = None

    def read(self, series: ImageSeries) -> npt.NDArray[Any]:
        if self._last is None or self._last[0] is not series:
            self._last = series, self._reader.read(series)
        return self._last[1]


def _write(image: TrainingImage, images: Path, pixels: _Pixels) -> str:
    """Write a picture's folder whole, or leave the one that is there."""
    folder, part = images / image.key, images / f".{image.key}.part"
    if _digest(folder) == image.document["digest"]:
        return "kept"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "pixels.npy", _small(image.turn(pixels.read(image.series))))
    for number, mask in enumerate(image.masks):
        np.save(part / f"mask-{number}.npy", np.packbits(mask))
    _write_json(part / "image.json", image.document)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return "written"


def _folders_by_study(images: Path) -> dict[str, set[str]]:
    """Return the pictures that are there, by the pseudonym of their study."""
    found: dict[str, set[str]] = {}
    for path in images.glob("[0-9a-f]*/image.json"):
        try:
            study = str(json.loads(path.read_bytes())["study"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is written anew, or the reader tells
        found.setdefault(study, set()).add(path.parent.name)
    return found


def _digest(folder: Path) -> Any:
    try:
        return json.loads((folder / "image.json").read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _small(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return whole numbers as such, in 16 bits where they fit."""
    if pixels.dtype.kind == "f" and not (pixels == np.rint(pixels)).all():
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    for kind in (np.int16, np.uint16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max and pixels.dtype != np.uint8:
            return pixels.astype(kind)
    return pixels


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
    write_whole(path, f"{text}\n".encode())
