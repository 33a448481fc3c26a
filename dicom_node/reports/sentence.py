"""A sentence, read: its words, what it names, what it says about it."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.reports.context import Context, read_context
from dicom_node.reports.lexicon import ConceptKind, Mention, find_mentions
from dicom_node.reports.triggers import Trigger, TriggerKind, find_triggers
from dicom_node.reports.words import Word, split_words

__all__ = ["Sentence", "read_sentence"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, read: its words, what it names, what it says about it."""

    words: tuple[Word, ...]
    mentions: tuple[Mention, ...]
    triggers: tuple[Trigger, ...]
    owners: tuple[Mention | None, ...]
    """The mention that each word belongs to."""
    context: Context
    deciding: frozenset[int]
    """The words of negations, hedges and history: no part of a noun phrase."""

    findings: tuple[Mention, ...]
    """The mentions of findings."""
    places: tuple[Mention, ...]
    """The mentions of structures and regions."""


def read_sentence(text: str, start: int, end: int) -> Sentence:
    """Read the sentence ``text[start:end]``."""
    words = split_words(text, start, end)
    mentions = find_mentions(words)
    triggers = find_triggers(words)
    owners: list[Mention | None] = [None] * len(words)
    for one in mentions:
        for index in one.words:
            owners[index] = one
    deciding = frozenset(
        index
        for one in triggers
        if one.kinds - {TriggerKind.NORMAL, TriggerKind.ENDS}
        for index in range(one.first, one.last + 1)
        if owners[index] is None
    )
    return Sentence(
        words=words,
        mentions=mentions,
        triggers=triggers,
        owners=tuple(owners),
        context=read_context(words, mentions, triggers),
        deciding=deciding,
        findings=tuple(
            one for one in mentions if one.concept.kind is ConceptKind.FINDING
        ),
        places=tuple(
            one for one in mentions if one.concept.kind is not ConceptKind.FINDING
        ),
    )
