"""Look up what is known of a label: other words, its place in the tree, its codes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from dicom_node.records import Finding, PhraseStatus, Report
from dicom_node.reports import extract_phrases, phrase_from_text
from dicom_node.reports.codes import PRIVATE_SCHEME
from dicom_node.reports.lexicon import concepts
from model.knowledge import load_knowledge
from model.knowledge.words import to_words
from training.laterality import Side, side_of
from training.phrases import load_lexicon

__all__ = [
    "MAX_PHRASE",
    "Statement",
    "codes_of",
    "contains",
    "finding_code",
    "held_out_words",
    "is_lesion",
    "is_paired",
    "path_of",
    "statements_of",
    "synonyms_of",
]

MAX_PHRASE = 1000
"""Characters of the longest phrase; a report is not a phrase."""

_STRUCTURE = "91723000"
_UNSPECIFIED = "309825002"
_MORE_PAIRED = frozenset({"39607008", "3120008"})
"""Lung and pleura: the lexicon has each once, the body on either side."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What our report reader takes out of a text."""

    text: str
    """As the node would ask the model: with the side spelled out"""
    status: str
    side: Side | None
    code: str


@cache
def statements_of(text: str) -> tuple[Statement, ...]:
    """Read a report or a sentence with the extractor that serves the node."""
    return tuple(
        Statement(
            text=phrase.prompt,
            status=PhraseStatus(phrase.status).value,
            side=side_of(phrase.prompt[:MAX_PHRASE]),
            code=_code(phrase.finding),
        )
        for phrase in extract_phrases(Report(text=text, source="file"))
        if phrase.prompt.strip()
    )


@cache
def _finding(label: str) -> Finding:
    return phrase_from_text(label[:MAX_PHRASE]).finding


def _code(finding: Finding) -> str:
    return f"{finding.finding.scheme}:{finding.finding.value}"


def finding_code(label: str) -> str:
    """Return scheme and value of what a label names: equal for all its wordings."""
    return _code(_finding(label))


def codes_of(label: str) -> dict[str, tuple[str, str, str]]:
    """Return category, type and site as SEG codes them; only public codes."""
    finding = _finding(label)
    if finding.finding.scheme == PRIVATE_SCHEME:
        return {}
    named = {"category": finding.category, "type": finding.type, "site": finding.site}
    return {
        key: (code.value, code.scheme, code.meaning)
        for key, code in named.items()
        if code is not None and code.scheme != PRIVATE_SCHEME
    }


def is_lesion(label: str) -> bool:
    """Whether a label names a finding, not anatomy; unknown words are none."""
    category = _finding(label).category.value
    return category not in (_STRUCTURE, _UNSPECIFIED)


@cache
def is_paired(label: str) -> bool:
    """Whether a label without a side can be on either: kidneys, effusions."""
    if side_of(label) is not None:
        return False
    site = _finding(label).site
    if site is None:
        return False
    return site.value in _MORE_PAIRED | {
        one.code_value for one in concepts().values() if one.is_pair
    }


def path_of(label: str) -> tuple[str, ...]:
    """Return (region, class, label), as far as the knowledge file goes."""
    return load_knowledge().path(label)


@cache
def contains(one: str, other: str) -> bool:
    """Whether `one` names something that `other` is part of, or the same thing.

    "left rib 1" is found in the knowledge file as a left rib; it says more than that,
    and contains nothing.
    """
    knowledge = load_knowledge()
    above, below = knowledge.place(one), knowledge.place(other)
    if above is None or below is None or not _is_entry(one):
        return False
    return above == below or above in knowledge.containing(below)


@cache
def _is_entry(label: str) -> bool:
    """Whether a label says just what its entry in the knowledge file says."""
    entry = load_knowledge().find(label)
    if entry is None:
        return False
    names = {_without_side(name) for name in (entry.name, *entry.synonyms)}
    return _without_side(label) in names


def _without_side(text: str) -> tuple[str, ...]:
    return tuple(word for word in to_words(text) if word not in ("left", "right"))


@cache
def held_out_words() -> frozenset[str]:
    """Return the wordings that the evaluation keeps for itself."""
    lexicon = load_lexicon()
    return frozenset(text for one in lexicon.concepts for text in one.held_out)


@cache
def synonyms_of(label: str) -> tuple[str, ...]:
    """Return other names of exactly what a label says, without those held out."""
    names: dict[str, None] = {}
    entry = load_knowledge().find(label)
    if entry is not None:
        own = (entry.name, *entry.synonyms)
        if label.casefold() in {name.casefold() for name in own}:
            names.update(dict.fromkeys(name for name in own if "~" not in name))
    for concept in load_lexicon().concepts:
        if label in (concept.name, *concept.names):
            names.update(dict.fromkeys(concept.names))
    names.pop(label, None)
    return tuple(name for name in names if name not in held_out_words())
