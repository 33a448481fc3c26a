"""What became of each phrase and of what was left out, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dicom_node.objects.common import clean_text
from dicom_node.records import Laterality, PhraseStatus

if TYPE_CHECKING:
    from dicom_node.records import ImageSeries, PhraseResult, StudyResult

__all__ = [
    "left_out",
    "outcome",
    "outcome_and_score",
    "percent",
    "phrase_line",
    "phrase_text",
    "places",
]

_STATUS = {
    PhraseStatus.PRESENT: "present",
    PhraseStatus.ABSENT: "absent",
    PhraseStatus.UNCERTAIN: "uncertain",
}

_SIDES = {
    Laterality.LEFT: "left",
    Laterality.RIGHT: "right",
    Laterality.BILATERAL: "both sides",
}


def percent(value: float | None) -> str:
    """Return a probability in percent; a dash where there is none."""
    return "-" if value is None else f"{100 * float(value):.0f} %"


def outcome(one: PhraseResult) -> str:
    """Say what became of a phrase, without the phrase and the score."""
    parts = [_STATUS[one.phrase.status]] if one.phrase.is_stated else []
    if one.phrase.laterality is not None:
        parts.append(_SIDES[one.phrase.laterality])
    if one.regions:
        parts.append("located")
    elif one.status is PhraseStatus.ABSENT and one.phrase.is_stated:
        parts.append("not drawn")
    elif one.score is None:
        parts.append("not asked of the model")
    else:
        parts.append("not located")
    return ", ".join(parts)


def outcome_and_score(one: PhraseResult) -> str:
    """Say what became of a phrase, and how sure the model is."""
    score = "" if one.score is None else f", score {percent(one.score)}"
    return outcome(one) + score


def phrase_line(one: PhraseResult, index: int) -> str:
    """Return a phrase, its number and what became of it in one line."""
    return f"{index + 1}. {phrase_text(one, index)} ({outcome_and_score(one)})"


def phrase_text(one: PhraseResult, index: int) -> str:
    """Return the words of a phrase."""
    return " ".join(clean_text(one.phrase.text).split()) or f"phrase {index + 1}"


def left_out(result: StudyResult) -> list[str]:
    """Return what was not processed, and why."""
    return [
        (f"Series {clean_text(uid)}: " if (uid := one.series_instance_uid) else "")
        + (" ".join(clean_text(one.reason).split()) or "no reason is known")
        for one in result.not_processed
    ]


def places(one: PhraseResult, series: Sequence[ImageSeries]) -> str:
    """Say where a phrase is: series by series, the frames as the series counts them."""
    found = []
    for number, grid in enumerate(series, start=1):
        frames = sorted(
            {
                region.mask_origin[0] + k
                for region in one.regions
                if (region.series_instance_uid, region.stack_number)
                == (grid.series_instance_uid, grid.stack_number)
                for k, mask in enumerate(region.mask)
                if mask.any()
            }
        )
        if frames:
            found.append(f"series {number}: {_ranges([k + 1 for k in frames])}")
    return "; ".join(found) or "-"


def _ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers as ranges: 3-7, 9."""
    runs: list[list[int]] = []
    for one in numbers:
        if runs and one == runs[-1][1] + 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
