"""The text of a report out of its observations (OBX)."""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.hl7.message import Segment
from dicom_node.hl7.tables import SECTION_OF_CODE, STUDY_UID_CODES, WITHDRAWN
from dicom_node.hl7.text import plain_text
from dicom_node.reports.sections import SectionKind, section_kind, split_sections

__all__ = ["names_study", "report_text", "with_headings"]

_TEXT_TYPES = frozenset({"TX", "FT", "ST", ""})
_CODED_TYPES = frozenset({"CE", "CWE", "CF", "CNE"})
_NUMBER_TYPES = frozenset({"NM", "SN"})


def names_study(observation: Segment) -> bool:
    """Whether a row holds the Study Instance UID."""
    names = observation.components(3)
    return any(one.upper() in STUDY_UID_CODES for one in names)


def report_text(observations: Iterable[Segment]) -> str:
    """Join the text of rows, with a heading where another section begins.

    Parameters
    ----------
    observations : iterable of Segment
        OBX; those that are withdrawn, or that name the study, say nothing.

    """
    rows = [
        (_heading(one), value)
        for one in observations
        if one.component(11).upper() not in WITHDRAWN and not names_study(one)
        for value in [_value(one)]
        if value is not None
    ]
    headings = {heading for heading, _ in rows}
    if headings <= {None, "FINDINGS"}:
        # One body, which may have headings of its own.
        return "\n".join(value for _, value in rows)
    lines: list[str] = []
    current: str | None = None
    for heading, value in rows:
        if heading != current:
            # What has no name does not belong to the section before it.
            name = heading or "REPORT"
            if lines:
                lines.append("")
            if not _begins_with(value, name):
                lines.append(f"{name}:")
            current = heading
        lines.append(value)
    return "\n".join(lines)


def with_headings(text: str) -> str:
    """Return a text that says of every part what it is, so that others may precede it.

    What has no heading would else belong to the last section of the text before.
    """
    for one in reversed(split_sections(text)):
        if one.kind is SectionKind.UNTITLED:
            text = f"{text[: one.start]}REPORT:\n{text[one.start :]}"
    return text


def _begins_with(text: str, heading: str) -> bool:
    """Whether a text brings a heading of that kind itself."""
    first = split_sections(text)[:1]
    return bool(first) and (
        first[0].start > 0
        and first[0].kind is section_kind(heading)
        and first[0].kind is not SectionKind.UNTITLED
    )


def _heading(observation: Segment) -> str | None:
    r"""Return the heading for OBX-3, None for one that names no section.

    ``18782-3^...^LN``, ``GDT``, ``71020&IMP^...`` and ``X^Impression`` are known.
    """
    delimiters = observation.delimiters
    raw = observation.repetitions(3)[0].split(delimiters.component)
    parts = [
        plain_text(sub, delimiters).strip()
        for one in raw
        for sub in one.split(delimiters.subcomponent)
    ]
    for part in parts:
        if part.upper() in SECTION_OF_CODE:
            return SECTION_OF_CODE[part.upper()]
    for part in parts:
        if part and section_kind(part) is not None:
            return part.upper()
    return None


def _value(observation: Segment) -> str | None:
    """Return OBX-5 as text, None for a type that has none."""
    kind = observation.component(2).upper()
    delimiters = observation.delimiters
    if kind in _TEXT_TYPES:
        # Components mean nothing in text: a "^" that was not escaped is a "^".
        return "\n".join(
            plain_text(one, delimiters) for one in observation.repetitions(5)
        )
    if kind in _CODED_TYPES:
        texts = (_coded_text(one) for one in observation.each(5))
        return "\n".join(filter(None, texts)) or None
    if kind in _NUMBER_TYPES:
        number = " ".join(filter(None, observation.components(5)))
        if not number:
            return None
        name = observation.component(3, 2) or observation.component(3)
        return f"{name}: {number} {observation.component(6)}".strip()
    return None


def _coded_text(parts: list[str]) -> str:
    """Return the words of a CE or CWE: original text, else text, else code."""
    parts = [*parts, *[""] * 9]
    return parts[8] or parts[1] or parts[4] or parts[0]
