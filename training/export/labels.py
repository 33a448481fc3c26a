"""Number the labels of a build, the same way for every format."""

from __future__ import annotations

from collections.abc import Iterable

from training.records import ImageRecord, PhraseRegion

__all__ = ["label_numbers", "meaning", "placed_regions"]


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
