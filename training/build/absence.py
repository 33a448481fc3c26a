"""Say what is not on a picture: by its label space, and by its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from training.build.draws import Draws
from training.build.settings import BuildSettings
from training.build.vocabulary import (
    MAX_PHRASE,
    Statement,
    codes_of,
    finding_code,
    path_of,
)
from training.laterality import side_of
from training.records import PhraseRegion

__all__ = ["absent_region", "draw_negatives", "stated_regions", "without_stated"]


def absent_region(phrase: str, label: str, *, source: str) -> PhraseRegion:
    """Return a region that says that a phrase is not there."""
    path = path_of(label)
    return PhraseRegion(
        region_id="",
        phrase=phrase,
        tokens_positive=(),
        label=label,
        label_path=path,
        level=max(len(path) - 1, 0),
        status="absent",
        laterality=side_of(phrase),
        codes=codes_of(label),
        source=source,
    )


def stated_regions(
    report: Sequence[Statement], regions: Sequence[PhraseRegion]
) -> list[PhraseRegion]:
    """Return what a report says that no region shows: denied, or somewhere."""
    shown = {finding_code(one.label or one.phrase) for one in regions}
    found = []
    for one in report:
        if one.code in shown or len(one.text) > MAX_PHRASE:
            continue
        region = absent_region(one.text, one.text, source="report")
        if one.status != "absent":
            region = replace(
                region,
                status="uncertain" if one.status == "uncertain" else "present",
                ignore=True,
            )
        found.append(region)
    return found


def without_stated(
    space: tuple[str, ...] | None, regions: Sequence[PhraseRegion]
) -> tuple[str, ...] | None:
    """Return the label space without what a report states and no region shows."""
    named = {one.label for one in regions}
    codes = {finding_code(one.label or one.phrase) for one in regions if one.ignore}
    if space is None or not codes:
        return space
    return tuple(
        label for label in space if label in named or finding_code(label) not in codes
    )


def draw_negatives(
    space: tuple[str, ...] | None,
    regions: Sequence[PhraseRegion],
    *,
    settings: BuildSettings,
    draws: Draws,
) -> list[PhraseRegion]:
    """Draw labels that were looked for and are not there."""
    named = {one.label for one in regions}
    free = [label for label in space or () if label not in named]
    chosen = draws.shuffled(free)[: settings.negatives]
    return [absent_region(label, label, source="label space") for label in chosen]
