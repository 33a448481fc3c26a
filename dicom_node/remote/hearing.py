"""What the structured report of a remote model says of each segment and phrase."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset

from dicom_node.reports.codes import PRIVATE_SCHEME

__all__ = ["UNKNOWN_SCORE", "Said", "hear", "items_of", "words_of"]

UNKNOWN_SCORE = (1.0, 1.0)
"""Certainty and uncertainty of what a remote draws without saying how sure it is."""


@dataclass(eq=False)
class Said:
    """What a structured report says, by segment and by words."""

    by_segment: dict[tuple[str, int], tuple[str, float, float]] = field(
        default_factory=dict
    )
    """Words, certainty and uncertainty."""
    by_words: dict[str, tuple[float, float]] = field(default_factory=dict)
    not_processed: set[str] = field(default_factory=set)
    """Pseudonymous Series Instance UIDs."""

    def add(self, other: Said) -> None:
        """Add what another says; of words, what was said first counts."""
        self.by_segment |= other.by_segment
        self.by_words = other.by_words | self.by_words
        self.not_processed |= other.not_processed


def hear(ds: Dataset, said: Said) -> None:
    """Read certainties, words and what was not processed from a report, or nothing.

    Parameters
    ----------
    ds : pydicom.Dataset
        The report; values of the wrong kind raise what pydicom raises.
    said : Said
        Added to.

    """
    heard = Said()
    for item in (ds, *items_of(ds)):
        children = item.get("ContentSequence") or ()
        concept = _concept(item)
        numbers = _numbers(children)
        words = next(
            (
                words_of(child.get("TextValue", ""))
                for child in children
                if _concept(child) == ("DCM", "121106")
            ),
            "",
        )
        if concept == (PRIVATE_SCHEME, "not-processed"):
            heard.not_processed |= {str(child.get("UID", "")) for child in children}
        if not words:
            continue
        segments = [
            (str(one.get("ReferencedSOPInstanceUID", "")), int(number))
            for child in children
            for one in child.get("ReferencedSOPSequence") or ()
            for number in _several(one.get("ReferencedSegmentNumber"))
        ]
        for segment in segments:
            heard.by_segment[segment] = (words, *(numbers or UNKNOWN_SCORE))
        if numbers is not None and not segments:
            heard.by_words.setdefault(words, numbers)
    said.add(heard)


def _numbers(children: Iterable[Dataset]) -> tuple[float, float] | None:
    """Return certainty and uncertainty, from 0 to 1."""
    found: dict[str, float] = {}
    for child in children:
        value = child.get("MeasuredValueSequence")
        if value:
            number = float(value[0].get("NumericValue", 0) or 0)
            if math.isfinite(number):
                found[_concept(child)[1]] = number
    percent = found.get("111012", found.get("local-certainty"))
    if percent is None:
        return None
    uncertainty = found.get("uncertainty", 1.0)
    return min(max(percent / 100, 0.0), 1.0), min(max(uncertainty, 0.0), 1.0)


def _concept(item: Dataset) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return "", ""
    first = names[0]
    scheme, value = first.get("CodingSchemeDesignator"), first.get("CodeValue")
    return str(scheme or ""), str(value or "")


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, int | str) else list(value)


def words_of(text: object) -> str:
    """Return the words of a text, without case and punctuation."""
    return " ".join(re.findall(r"\w+", str(text).casefold()))


def items_of(ds: Dataset) -> Iterator[Dataset]:
    """Yield the items of every sequence of a data set, at every depth."""
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from items_of(item)
