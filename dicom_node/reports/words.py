"""Words of a report: where they are, how they are spelled out, how they compare."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["Word", "read_table", "split_words", "stem", "stems"]

_TOKEN = re.compile(
    r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?\d*|\d+(?:st|nd|rd|th)\b|\d+(?:[.,]\d+)*"
)
"""Letters with optional digits ("T12"), an ordinal ("5th"), or a number ("3.5")."""


_SIDES = {"L": "left", "R": "right"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    An abbreviation is spelled out as several words that share one span. ``gap`` is
    what the text has between this word and the next: spaces and punctuation.
    """

    text: str
    """Lower case, spelled out: ``right`` for the R of "R kidney"."""
    stem: str
    """What it is compared by: singular, American spelling."""
    start: int
    end: int
    gap: str


def read_table(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file of ``dicom_node/reports/data``."""
    source = resources.files("dicom_node.reports") / "data" / name
    yield from csv.DictReader(source.read_text(encoding="utf-8").splitlines())


def stem(word: str) -> str:
    """Return what a lower-case word is compared by.

    Not linguistics: the tables and the report pass through the same function, so
    all that matters is that the forms of one word meet.
    """
    word = _spellings().get(word, word)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and word[-2] not in "sui":
        return word[:-1]
    return word


def stems(text: str) -> tuple[str, ...]:
    """Return the stems of the words of `text`, without spelling out."""
    return tuple(stem(one.group().lower()) for one in _TOKEN.finditer(text))


def split_words(text: str, start: int = 0, end: int | None = None) -> tuple[Word, ...]:
    """Split part of a text into words.

    Parameters
    ----------
    text : str
        The whole text.
    start, end : int
        The part to split; offsets of the words count from the start of `text`.

    Returns
    -------
    tuple of Word
        In reading order; ``text[word.start:word.end]`` is the word as written.

    """
    stop = len(text) if end is None else end
    found = list(_TOKEN.finditer(text, start, stop))
    words: list[Word] = []
    for index, token in enumerate(found):
        following = found[index + 1].start() if index + 1 < len(found) else stop
        gap = text[token.end() : following]
        spelled = _spell_out(token.group(), gap)
        words.extend(
            Word(
                text=one,
                stem=stem(one),
                start=token.start(),
                end=token.end(),
                gap=gap if position == len(spelled) - 1 else " ",
            )
            for position, one in enumerate(spelled)
        )
    return tuple(words)


def _spell_out(written: str, gap: str) -> tuple[str, ...]:
    # A lone capital L or R before another word is a side; "L4" and "R/O" are not.
    if written in _SIDES and gap.isspace():
        return (_SIDES[written],)
    lower = written.lower()
    return _abbreviations().get(lower, (lower,))


@cache
def _abbreviations() -> dict[str, tuple[str, ...]]:
    return {
        row["abbreviation"]: tuple(row["words"].split())
        for row in read_table("abbreviations.csv")
    }


@cache
def _spellings() -> dict[str, str]:
    return {row["spelling"]: row["word"] for row in read_table("spellings.csv")}
