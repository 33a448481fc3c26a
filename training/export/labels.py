"""Number the labels of a build, and name its authors, the same for every format."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from training.errors import DatasetError
from training.layout import ATTRIBUTION_FILE
from training.records import ImageRecord, PhraseRegion

__all__ = ["copy_attribution", "label_numbers", "meaning", "origin", "placed_regions"]


def copy_attribution(build: Path, out: Path) -> None:
    """Put whom to name beside an export, as every copy of the data needs it.

    Raises
    ------
    DatasetError
        The build does not say whom to name.
    """
    path = build / ATTRIBUTION_FILE
    if not path.is_file():
        raise DatasetError(f"{ATTRIBUTION_FILE} of the build is not there")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, out / ATTRIBUTION_FILE)


def origin(record: ImageRecord) -> dict[str, str]:
    """Return what goes with every picture: its dataset, licence and tier of labels."""
    return {"dataset": record.dataset, "licence": record.licence, "tier": record.tier}


def meaning(region: PhraseRegion) -> str:
    """Return what a region is of: its label, or else its phrase."""
    return region.label or region.phrase


def placed_regions(record: ImageRecord) -> list[PhraseRegion]:
    """Return the regions that can be shown to a trainer as there."""
    return [
        region
        for region in record.regions
        if region.bbox and not region.ignore and region.status != "absent"
    ]


def label_numbers(records: Iterable[ImageRecord]) -> dict[str, int]:
    """Return every label that any split has or was asked for, from 0, by the alphabet.

    All splits are read, so that a number means the same in each of them.
    """
    names: set[str] = set()
    for record in records:
        names.update(meaning(region) for region in record.regions)
        names.update(record.label_space or ())
    return {name: number for number, name in enumerate(sorted(names))}
