"""Bring wordings to one form: small letters, no articles, singular, sides apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

__all__ = ["SIDE_WORDS", "Words", "places_of", "said_side", "to_words"]

Words = tuple[str, ...]

_WORD = re.compile(r"[a-z0-9]+")
_DROPPED = frozenset({"the", "a", "an", "sided"})
_SPELLED_OUT: dict[str, Words] = {
    "lul": ("left", "upper", "lobe"),
    "lll": ("left", "lower", "lobe"),
    "rul": ("right", "upper", "lobe"),
    "rml": ("right", "middle", "lobe"),
    "rll": ("right", "lower", "lobe"),
    "lt": ("left",),
    "rt": ("right",),
    "leftsided": ("left",),
    "rightsided": ("right",),
}
_SINGULAR = {
    "vertebrae": "vertebra",
    "scapulae": "scapula",
    "femora": "femur",
    "humeri": "humerus",
    "bronchi": "bronchus",
    "bullae": "bulla",
    "calculi": "calculus",
    "nuclei": "nucleus",
    "hila": "hilum",
    "hippocampi": "hippocampus",
    "emboli": "embolus",
    "teeth": "tooth",
    "feet": "foot",
    "nevi": "nevus",
    "naevi": "naevus",
    "metastases": "metastasis",
    "diverticula": "diverticulum",
    "sinuses": "sinus",
    "lens": "lens",
    "pons": "pons",
}
_BOTH = frozenset({"both", "bilateral", "bilaterally", "bibasal", "bibasilar"})

SIDE_WORDS = _BOTH | {"left", "right", "on"}
"""Words that place a thing on a side ("kidney on the left")."""


@lru_cache(maxsize=65536)
def to_words(text: str) -> Words:
    """Return the words of `text` in the form in which wordings are compared."""
    words: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word in _DROPPED:
            continue
        words.extend(_SPELLED_OUT.get(word, (_singular(word),)))
    return tuple(words)


def _singular(word: str) -> str:
    if word in _SINGULAR:
        return _SINGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("xes", "shes", "ches", "sses")):
        return word[:-2]
    return word[:-1]


def places_of(part: Words, words: Words) -> Iterator[int]:
    """Yield where `part` begins in `words`, whole words only."""
    for start in range(len(words) - len(part) + 1):
        if words[start : start + len(part)] == part:
            yield start


def said_side(words: Words, used: Sequence[int]) -> str | None:
    """Return "left" or "right" where the words say it of the words at `used`.

    Words inside the match belong to its name. With both sides in one phrase the
    nearest one before the match counts, unless they are joined or it says "both".
    """
    said = [
        (at, word)
        for at, word in enumerate(words)
        if at not in used and (word in ("left", "right") or word in _BOTH)
    ]
    sides = {word for _, word in said}
    if len(sides) <= 1:
        return _one(sides.pop() if sides else None)
    joined = any(
        words[at + 1 : at + 3] in (("and", "right"), ("and", "left")) for at, _ in said
    )
    if joined:
        return None
    before = [word for at, word in said if at < max(used)]
    return _one(before[-1] if before else said[0][1])


def _one(side: str | None) -> str | None:
    return None if side in _BOTH else side
