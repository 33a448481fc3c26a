"""The lexicon: what a report can name, its codes, and the words that name it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from dicom_node.reports.words import Word, read_table, stems

__all__ = ["Concept", "ConceptKind", "Mention", "concept", "concepts", "find_mentions"]

_MAX_GAP_WORDS = 4
"""Words that may stand between the parts of an order-free synonym: "the liver [is
only mildly] enlarged". Measured best on chest reports: fewer miss, more invent."""


class ConceptKind(StrEnum):
    """What a concept is to the node."""

    STRUCTURE = "structure"
    """Anatomy that can be grounded by itself."""
    REGION = "region"
    """A part of the body: a place for findings, never grounded by itself."""
    FINDING = "finding"
    """Something a report can state or negate, devices included."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One row of ``structures.csv`` or ``findings.csv``."""

    key: str
    kind: ConceptKind
    scheme: str
    code_value: str
    """Empty for concepts that only the node's own scheme names."""
    meaning: str
    in_dicom_subset: bool
    """Whether pydicom's tables of PS3.16 hold the code."""
    type_key: str
    """Findings: a row of ``types.csv``."""
    site_key: str
    """Findings: where they are when the report does not say; structures: what they
    are a part of."""
    is_pair: bool
    """Whether the body has one on either side."""
    synonyms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mention:
    """A concept named in a sentence.

    ``words`` are the indices of the words that name it, ``first`` and ``last`` their
    extent. An adjective ("hepatic") names a place for findings, not a structure.
    """

    concept: Concept
    first: int
    last: int
    words: frozenset[int]
    is_adjective: bool = False
    predicate: frozenset[int] = frozenset()
    """The words of the second part of an order-free synonym."""


@dataclass(frozen=True, slots=True)
class _Synonym:
    concept: Concept
    parts: tuple[tuple[str, ...], ...]
    is_adjective: bool


@cache
def concepts() -> dict[str, Concept]:
    """Return every concept by its key."""
    table: dict[str, Concept] = {}
    for row in read_table("structures.csv"):
        kind = ConceptKind.REGION if row["kind"] == "region" else ConceptKind.STRUCTURE
        table[row["key"]] = Concept(
            key=row["key"],
            kind=kind,
            scheme=row["scheme"],
            code_value=row["code"],
            meaning=row["meaning"],
            in_dicom_subset=row["in_dicom_subset"] == "yes",
            type_key="",
            site_key=row["part_of"],
            is_pair=row["kind"] == "pair",
            synonyms=tuple(row["synonyms"].split("|")),
        )
    for row in read_table("findings.csv"):
        table[row["key"]] = Concept(
            key=row["key"],
            kind=ConceptKind.FINDING,
            scheme=row["scheme"],
            code_value=row["code"],
            meaning=row["meaning"],
            in_dicom_subset=row["in_dicom_subset"] == "yes",
            type_key=row["type"],
            site_key=row["site"],
            is_pair=False,
            synonyms=tuple(row["synonyms"].split("|")),
        )
    return table


def concept(key: str) -> Concept:
    """Return the concept with this key."""
    return concepts()[key]


def find_mentions(words: Sequence[Word]) -> tuple[Mention, ...]:
    """Find the concepts that a sentence names, in reading order.

    The longest name wins and no word names two things, except that order-free
    synonyms may share a part: "the liver and spleen are enlarged".

    Parameters
    ----------
    words : sequence of Word
        One sentence.

    """
    names = [one.stem for one in words]
    found: list[Mention] = []
    parts: dict[int, dict[int, list[tuple[int, int]]]] = {}
    for start in range(len(names)):
        node = _trie()
        for position in range(start, len(names)):
            if names[position] not in node:
                break
            node = node[names[position]]
            for number, part in node.get("", ()):
                synonym = _synonyms()[number]
                if len(synonym.parts) == 1:
                    found.append(_mention(synonym, ((start, position),)))
                else:
                    spans = parts.setdefault(number, {})
                    spans.setdefault(part, []).append((start, position))
    for number, spans in parts.items():
        found.extend(_order_free(_synonyms()[number], spans, words))
    return _longest(found)


def _order_free(
    synonym: _Synonym,
    spans: dict[int, list[tuple[int, int]]],
    words: Sequence[Word],
) -> list[Mention]:
    """Join each place of the first part with the nearest place of the second."""
    joined: list[Mention] = []
    for anchor in spans.get(0, ()):
        near = [
            other
            for other in spans.get(1, ())
            if _may_join(min(anchor, other), max(anchor, other), words)
        ]
        if near:
            best = min(near, key=lambda other: abs(other[0] - anchor[0]))
            joined.append(_mention(synonym, (anchor, best)))
    return joined


def _may_join(
    left: tuple[int, int], right: tuple[int, int], words: Sequence[Word]
) -> bool:
    between = words[left[1] + 1 : right[0]]
    if right[0] <= left[1] or len(between) > _MAX_GAP_WORDS:
        return False
    # A new statement between the parts separates them; a list of subjects does not:
    # "the liver, spleen and kidneys are enlarged" / "the liver is normal, spleen ...".
    if any(one.stem in _SEPARATES for one in between):
        return False
    gaps = "".join(one.gap for one in words[left[1] : right[0]])
    if ";" in gaps or "(" in gaps:
        return False
    verbs = [index for index, one in enumerate(between) if one.stem in _VERBS]
    first_verb = verbs[0] if verbs else len(between)
    return not any("," in one.gap for one in between[first_verb:])


_SEPARATES = frozenset(
    stems(
        "normal unremarkable clear intact patent but without with no however "
        "concerning suspicious suggesting may possible possibly likely versus"
    )
)
_VERBS = frozenset(stems("is are was were appear appears remain remains"))


def _mention(synonym: _Synonym, spans: tuple[tuple[int, int], ...]) -> Mention:
    covered = frozenset(
        position for first, last in spans for position in range(first, last + 1)
    )
    return Mention(
        concept=synonym.concept,
        first=min(covered),
        last=max(covered),
        words=covered,
        is_adjective=synonym.is_adjective,
        predicate=frozenset(
            position for first, last in spans[1:] for position in range(first, last + 1)
        ),
    )


def _longest(found: list[Mention]) -> tuple[Mention, ...]:
    ranked = sorted(
        found,
        key=lambda one: (
            -len(one.words),
            one.last - one.first,
            one.concept.kind is not ConceptKind.FINDING,
            one.first,
            one.concept.key,
        ),
    )
    kept: list[Mention] = []
    taken: set[int] = set()
    shared: set[int] = set()
    for one in ranked:
        clash = one.words & taken
        is_new = bool(one.words - taken)
        if clash and not (one.predicate and clash <= shared and is_new):
            continue
        kept.append(one)
        if one.predicate:
            shared |= one.words
        taken |= one.words
    return tuple(sorted(kept, key=lambda one: (one.first, one.last, one.concept.key)))


@cache
def _synonyms() -> tuple[_Synonym, ...]:
    return tuple(
        _Synonym(
            concept=one,
            parts=tuple(stems(part) for part in text.lstrip("-").split("~")),
            is_adjective=text.startswith("-"),
        )
        for one in concepts().values()
        for text in one.synonyms
    )


@cache
def _trie() -> dict[str, Any]:
    """Words lead to words; "" holds the (synonym, part) that end there."""
    root: dict[str, Any] = {}
    for number, synonym in enumerate(_synonyms()):
        for part, names in enumerate(synonym.parts):
            node = root
            for name in names:
                node = node.setdefault(name, {})
            node.setdefault("", []).append((number, part))
    return root
