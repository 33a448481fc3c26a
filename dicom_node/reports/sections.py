"""Sections and sentences of a report text, as spans of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from dicom_node.reports.words import read_table

__all__ = [
    "Section",
    "SectionKind",
    "section_kind",
    "split_sections",
    "split_sentences",
]


class SectionKind(StrEnum):
    """What a section is to the node."""

    FINDINGS = "findings"
    IMPRESSION = "impression"
    UNTITLED = "untitled"
    """Text before, or without, any known heading."""
    OTHER = "other"
    """Indication, history, technique, comparison ...: never about these images."""


@dataclass(frozen=True, slots=True)
class Section:
    """The text under a heading, without it: ``text[start:end]``."""

    kind: SectionKind
    start: int
    end: int


_ABBREVIATION = re.compile(
    r"(?:\b(?:vs|dr|mr|mrs|ms|prof|approx|ca|e\.g|i\.e|cf|fig|st|lt|rt|bilat|resp|incl|max|min"
    r"|est|dept)|\b[A-Za-z])$",
    re.IGNORECASE,
)
"""What stands before a full stop that may end no sentence."""

_BLANK_LINE = re.compile(r"\n[ \t]*\n")

_LIST_ITEM = re.compile(r"[ \t]*(?:[-*\u2022\u2013]|\(?\d{1,2}[.)])[ \t]+")
"""The mark that begins an item of a list."""

_HEADING_LINE = re.compile(r"[ \t]*[A-Z][A-Za-z /&,()-]{0,60}:")
"""A line that begins with a label, "Liver:"."""


_MAX_SENTENCE = 1500
"""Characters after which a sentence without an end is cut: what is read at a time
stays small whatever the text is."""


def section_kind(heading: str) -> SectionKind | None:
    """Return the kind of section that a heading opens, None for an unknown one."""
    return _headings().get(" ".join(heading.lower().strip(" :\t").split()))


def split_sections(text: str) -> tuple[Section, ...]:
    """Split a report into its sections.

    A heading is known by its words (``sections.csv``): at the start of a line with a
    colon, alone on a line, or in capitals with a colon anywhere.
    """
    headings = list(_find_headings(text))
    sections = [
        Section(SectionKind.UNTITLED, 0, headings[0][1] if headings else len(text))
    ]
    has_findings = any(
        kind in (SectionKind.FINDINGS, SectionKind.IMPRESSION)
        for kind, _, _ in headings
    )
    for index, (kind, _, start) in enumerate(headings):
        end = headings[index + 1][1] if index + 1 < len(headings) else len(text)
        if kind is SectionKind.OTHER and not has_findings:
            # "COMPARISON: none", an empty line, and then the report without a title.
            # A heading on a line of its own may have an empty line before its text.
            first = start + len(text[start:end]) - len(text[start:end].lstrip())
            blank = _BLANK_LINE.search(text, first, end)
            if blank is not None:
                sections.append(Section(kind, start, blank.start()))
                sections.append(Section(SectionKind.UNTITLED, blank.end(), end))
                continue
        sections.append(Section(kind, start, end))
    return tuple(one for one in sections if text[one.start : one.end].strip())


def split_sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the sentences of ``text[start:end]`` as spans, list marks left out."""
    begin = start
    for position in range(start, end):
        stop = _stop_at(text, begin, position, end)
        if stop > 0:
            yield from _trimmed(text, begin, stop)
            begin = stop
    yield from _trimmed(text, begin, end)


def _stop_at(text: str, begin: int, position: int, end: int) -> int:
    """Return where the sentence ends if it ends at this character, else 0."""
    character = text[position]
    if character in ".?!":
        return position + 1 if _ends_sentence(text, begin, position, end) else 0
    length = position - begin
    is_over = length >= 2 * _MAX_SENTENCE
    if character == "\n":
        is_over |= _line_ends_sentence(text, begin, position, end)
    elif character.isspace():
        is_over |= length >= _MAX_SENTENCE
    return position if is_over else 0


def _find_headings(text: str) -> Iterator[tuple[SectionKind, int, int]]:
    """Yield kind, start of the heading and start of the text under it."""
    known = _headings()
    for match in _heading_pattern().finditer(text):
        words = match.group("words")
        before = text[
            text.rfind("\n", 0, match.start("words")) + 1 : match.start("words")
        ]
        is_line_start = not before.strip(" \t*#_>-")
        is_alone = not match.group("colon")
        if is_alone and not (is_line_start and _is_end_of_line(text, match.end())):
            continue
        if not is_line_start and not words.isupper():
            continue
        kind = known[" ".join(words.lower().split())]
        yield kind, match.start("words"), match.end()


def _is_end_of_line(text: str, position: int) -> bool:
    newline = text.find("\n", position)
    rest = text[position : len(text) if newline < 0 else newline]
    return not rest.strip(" \t\r*#_-")


@cache
def _heading_pattern() -> re.Pattern[str]:
    names = sorted(_headings(), key=len, reverse=True)
    words = "|".join(re.escape(name).replace(r"\ ", "[ \t]+") for name in names)
    return re.compile(
        rf"(?<![^\W_])(?P<words>{words})(?![^\W_])[ \t*_]*(?P<colon>:?)[*_]*",
        re.IGNORECASE,
    )


@cache
def _headings() -> dict[str, SectionKind]:
    return {
        name: SectionKind(row["kind"])
        for row in read_table("sections.csv")
        for name in row["headings"].split("|")
    }


def _ends_sentence(text: str, begin: int, position: int, end: int) -> bool:
    after = text[position + 1] if position + 1 < end else " "
    if not (after.isspace() or after in "\"')"):
        return False  # decimals, abbreviations such as "e.g."
    if text[position] != ".":
        return True
    before = text[max(begin, position - 12) : position]
    if before.rstrip(" \t")[-1:].isdigit() and _is_list_number(text, begin, position):
        return False
    if not _ABBREVIATION.search(before):
        return True
    following = text[position + 1 : min(end, position + 20)].lstrip()
    # "L." and "a." may end a sentence; an abbreviation before a small letter or a
    # number does not, nor do titles before a name.
    if re.search(r"\b(?:dr|mr|mrs|ms|prof|st)$", before, re.IGNORECASE):
        return False
    return bool(following[:1].isupper()) and not re.search(
        r"\bvs$", before, re.IGNORECASE
    )


def _is_list_number(text: str, begin: int, position: int) -> bool:
    """Whether the full stop belongs to the mark of a list item, "1."."""
    mark = text[begin:position] if position - begin < 40 else ""
    return re.fullmatch(r"\s*\(?\d{1,2}", mark) is not None


def _line_ends_sentence(text: str, begin: int, position: int, end: int) -> bool:
    line_end = text.find("\n", position + 1)
    following = text[position + 1 : end if line_end < 0 or line_end > end else line_end]
    if not following.strip() or _LIST_ITEM.match(following):
        return True
    if _HEADING_LINE.match(following):
        return True
    line = text[max(text.rfind("\n", 0, position) + 1, begin) : position].rstrip()
    if not line or line.endswith(","):
        return False
    if line.endswith(":"):
        return False
    # A wrapped line is long; a short one before a capital is a statement of its own.
    word = following.lstrip()
    return len(line) < 60 and word[:1].isupper() and word[1:2].islower()


def _trimmed(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin < end and text[begin].isspace():
        begin += 1
    mark = _LIST_ITEM.match(text, begin, end)
    if mark is not None:
        begin = mark.end()
    while end > begin and (text[end - 1].isspace() or text[end - 1] in ".?!"):
        end -= 1
    if begin < end:
        yield begin, end
