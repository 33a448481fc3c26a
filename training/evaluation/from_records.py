"""Make cases of the interchange: of a build's shards, or of a JSONL with its pictures.

Slices of volumes are judged one by one, as they are stored; whole volumes are read from
the dataset itself, see `training.evaluation.from_dataset`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.records import ImageStack
from training.errors import DatasetError, RecordError
from training.evaluation.cases import EvaluationCase, Mask, PhraseTruth
from training.layout import (
    SHARDS_FOLDER,
    PictureInfo,
    decode_picture,
    iterate_shard,
    read_shards,
    to_units,
)
from training.records import ImageRecord, PhraseRegion
from training.rle import decode_rle

__all__ = [
    "case_from_record",
    "cases_of_build",
    "cases_of_jsonl",
    "soft_tissue_likeness",
    "truths_of",
]

_SOFT_LOW, _SOFT_WIDTH = -160.0, 400.0
"""Where `model.processing.normalise_units` lays values that have no absolute unit."""

_SLICE = "slices of volumes, judged one by one without their neighbours"


def cases_of_build(folder: Path, *, split: str = "test") -> Iterator[EvaluationCase]:
    """Yield the samples of one split of a build, in the order of its shards.

    Raises
    ------
    training.errors.DatasetError
        The folder is no finished build, or the split is empty.
    """
    shards = [shard for shard in read_shards(folder) if shard.split == split]
    if not shards:
        raise DatasetError(f"{folder} has no sample of the split {split!r}")
    for shard in shards:
        for members in iterate_shard(folder / SHARDS_FOLDER / shard.name):
            record = ImageRecord.from_json(members["json"])
            info = PictureInfo.from_json(members["picture.json"])
            stored = decode_picture(members["png" if "png" in members else "jpg"])
            yield case_from_record(record, stored, info=info)


def cases_of_jsonl(path: Path, *, split: str | None = None) -> Iterator[EvaluationCase]:
    """Yield the records of a file whose pictures lie beside it.

    A picture's values are taken as they are unless ``NAME.picture.json`` beside it
    says how to turn them into units; a CT needs that.

    Parameters
    ----------
    split
        Only records of this split; None: all.

    Raises
    ------
    training.errors.TrainingError
        A line is no record, or a picture is missing or lies elsewhere.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = ImageRecord.from_json(line)
            except RecordError as error:
                raise RecordError(f"{path.name} line {number}: {error}") from error
            if split is None or record.split == split:
                yield _beside(path.parent, record)


def case_from_record(
    record: ImageRecord, stored: NDArray[Any], *, info: PictureInfo | None = None
) -> EvaluationCase:
    """Make a case from one record and its decoded picture.

    Parameters
    ----------
    stored
        (rows, columns), or (rows, columns, 3) uint8.
    info
        How stored values become units; None: they are units.

    Raises
    ------
    training.errors.DatasetError
        Picture and record differ in size.
    """
    if stored.shape[:2] != (record.height, record.width):
        raise DatasetError(
            f"{record.image_id}: the picture is {stored.shape[:2]}, its record says "
            f"{(record.height, record.width)}"
        )
    notes = [] if record.tier == "manual" else [f"labels are {record.tier}"]
    notes += [_SLICE] if record.volume is not None else []
    return EvaluationCase(
        name=record.image_id,
        patient=record.patient_key,
        stack=ImageStack(
            pixels=_units(stored, info, record.modality)[None],
            spacing_mm=None if record.spacing_mm is None else (0.0, *record.spacing_mm),
            modality=record.modality,
            body_part=record.body_part,
            is_volume=False,
        ),
        truths=truths_of(record),
        dataset=record.dataset,
        note="; ".join(notes),
    )


def truths_of(record: ImageRecord) -> tuple[PhraseTruth, ...]:
    """Return what a record says of each phrase.

    Not asked are phrases that are uncertain, ignored or only partly outlined. Labels of
    the label space that no region has are absent.
    """
    regions: dict[str, list[PhraseRegion]] = {}
    for region in record.regions:
        regions.setdefault(region.phrase, []).append(region)
    truths = [
        _truth(phrase, group, record)
        for phrase, group in regions.items()
        if all(_is_decided(region) for region in group)
    ]
    named = {region.label or region.phrase for region in record.regions} | set(regions)
    absent = [name for name in record.label_space or () if name not in named]
    truths += [PhraseTruth(phrase=name, is_present=False) for name in absent]
    return tuple(truths)


def _is_decided(region: PhraseRegion) -> bool:
    if region.ignore or region.status == "uncertain":
        return False
    return region.status == "absent" or (region.complete and bool(region.bbox))


def _truth(
    phrase: str, regions: list[PhraseRegion], record: ImageRecord
) -> PhraseTruth:
    """Join the regions of one phrase; outlines count only if no piece lacks one."""
    label = regions[0].label or ""
    drawn = [region for region in regions if region.status == "present"]
    if not drawn:
        return PhraseTruth(phrase=phrase, is_present=False, label=label)
    outlined = all(region.mask is not None for region in drawn)

    def load() -> Mask:
        whole = np.zeros((1, record.height, record.width), dtype=np.bool_)
        for region in drawn:
            for rle in region.mask or ():
                whole[0] |= decode_rle(rle)
        return whole

    return PhraseTruth(
        phrase=phrase,
        is_present=True,
        label=label,
        load_mask=load if outlined else None,
        boxes=tuple((0, box) for region in drawn for box in region.bbox),
    )


def _units(
    stored: NDArray[Any], info: PictureInfo | None, modality: str
) -> NDArray[Any]:
    """Return modality units; a CT that was stored without them gets their likeness."""
    if stored.ndim == 3 or info is None:
        return stored
    values = to_units(stored, info)
    if modality == "CT" and info.units != "HU":
        return soft_tissue_likeness(values, info.low, info.high)
    return values


def soft_tissue_likeness(
    values: NDArray[np.float32], low: float, high: float
) -> NDArray[np.float32]:
    """Lay values without a unit on the soft-tissue window, as serving lays others."""
    scale = _SOFT_WIDTH / max(high - low, 1e-6)
    return np.asarray((values - low) * scale + _SOFT_LOW, dtype=np.float32)


def _beside(folder: Path, record: ImageRecord) -> EvaluationCase:
    path = folder / record.filename
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{record.image_id}: its picture lies outside {folder}")
    if not path.is_file():
        raise DatasetError(f"{record.image_id}: there is no picture {record.filename}")
    beside = path.with_name(f"{path.stem}.picture.json")
    info = PictureInfo.from_json(beside.read_bytes()) if beside.is_file() else None
    stored = decode_picture(path.read_bytes())
    if info is None and record.modality == "CT":
        raise DatasetError(
            f"{record.image_id}: a CT needs {beside.name}, which says what its stored "
            "values are in Hounsfield units"
        )
    return case_from_record(record, stored, info=info)
