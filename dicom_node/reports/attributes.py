"""Side and size of what a phrase names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dicom_node.records import Laterality
from dicom_node.reports.lexicon import Concept, ConceptKind, Mention
from dicom_node.reports.words import Word, stems

__all__ = ["SIDE_WORDS", "laterality_of", "measurements_mm", "side_words"]

_LEFT = frozenset({"left", "leftsided"})
_RIGHT = frozenset({"right", "rightsided"})
_BOTH = frozenset(stems("bilateral bilaterally both bibasilar bibasal biapical"))

SIDE_WORDS = _LEFT | _RIGHT | _BOTH
"""Words that say a side."""

_NUMBER = r"(?<![\d.,/])(\d{1,4}(?:[.,]\d{1,3})?)"
_MEASUREMENT = re.compile(
    rf"{_NUMBER}\s*(?P<unit1>mm|cm)?"
    rf"(?:\s*(?:x|\u00d7|by|-|\u2013|to)\s*(\d{{1,4}}(?:[.,]\d{{1,3}})?)\s*(?P<unit2>mm|cm)?)?"
    rf"(?:\s*(?:x|\u00d7|by)\s*(\d{{1,4}}(?:[.,]\d{{1,3}})?)\s*(?P<unit3>mm|cm)?)?"
    r"[\s-]*(?P<unit>mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)?(?![A-Za-z\d])",
    re.IGNORECASE,
)


def measurements_mm(text: str) -> tuple[float, ...]:
    """Return the lengths in a text, in millimetres, in reading order.

    "1.2 x 3.4 cm" gives 12 and 34, "4-5 mm" gives 4 and 5. A number without a unit,
    or an area or volume, is no length.
    """
    found: list[float] = []
    for match in _MEASUREMENT.finditer(text):
        units = [match[name] for name in ("unit1", "unit2", "unit3", "unit")]
        last = next((unit for unit in reversed(units) if unit), None)
        if last is None or text[match.end() : match.end() + 1] in (
            "\u00b2",
            "\u00b3",
            "^",
        ):
            continue
        numbers = (match[1], match[3], match[5])
        for number, unit in zip(numbers, units, strict=False):
            if number is not None:
                scale = 10.0 if (unit or last).lower().startswith("c") else 1.0
                found.append(round(float(number.replace(",", ".")) * scale, 3))
    return tuple(found)


def side_words(
    words: Sequence[Word], indices: Iterable[int], mentions: Sequence[Mention]
) -> tuple[int, ...]:
    """Return which of the words say a side of the body.

    "Left" in the name of a structure that the body has once ("left atrium",
    "left colon") says no side.
    """
    said = [index for index in indices if words[index].stem in SIDE_WORDS]
    return tuple(
        index
        for index in said
        if not any(index in one.words and _has_once(one.concept) for one in mentions)
    )


def _has_once(one: Concept) -> bool:
    """Whether a side in the name of a structure is no side of the body."""
    is_structure = one.kind is not ConceptKind.FINDING
    return is_structure and not (one.is_pair or one.site_key == "lung")


def laterality_of(
    words: Sequence[Word], sides: Sequence[int], subject: Concept | None
) -> Laterality | None:
    """Return the side that words say, or that the plural of a pair implies.

    Parameters
    ----------
    words : sequence of Word
        The sentence.
    sides : sequence of int
        The indices of its words that count, from `side_words`.
    subject : Concept, optional
        A structure that was named without a side but in the plural: two of a pair.

    """
    said = {words[index].stem for index in sides}
    has_left, has_right = bool(said & _LEFT), bool(said & _RIGHT)
    if said & _BOTH or (has_left and has_right):
        return Laterality.BILATERAL
    if has_left:
        return Laterality.LEFT
    if has_right:
        return Laterality.RIGHT
    if subject is not None and subject.is_pair:
        return Laterality.BILATERAL
    return None
