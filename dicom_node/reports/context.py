"""What a sentence says about the things it names: stated, negated, hedged, past."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from dicom_node.records import PhraseStatus
from dicom_node.reports.lexicon import ConceptKind, Mention
from dicom_node.reports.words import Word, stems

__all__ = ["Trigger", "TriggerKind", "find_triggers", "status_of"]


class TriggerKind(StrEnum):
    """What a trigger does; the values are the keys of ``context.json``."""

    PSEUDO = "pseudo"
    NEGATES_AFTER = "negation_forward"
    NEGATES_BEFORE = "negation_backward"
    HEDGES_AFTER = "hedge_forward"
    HEDGES_BEFORE = "hedge_backward"
    HISTORY = "history"
    ENDS = "end_negation"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Trigger:
    """Words that decide about the mentions around them."""

    kinds: frozenset[TriggerKind]
    first: int
    last: int


_NEW_ITEM = frozenset(
    stems(
        "small mild moderate large stable unchanged new there the a an tiny trace "
        "severe minimal increased decreased persistent chronic marked extensive "
        "multiple several few left right bilateral again mildly moderately severely"
    )
)
"""Words that begin a statement of its own after a comma or an "and"."""

_FINITE = frozenset(
    stems("is are was were remains remain appears appear measures measure contains")
)

_GONE = frozenset(
    stems(text)
    for text in (
        "absent",
        "surgically absent",
        "removed",
        "has been removed",
        "have been removed",
        "has been resected",
    )
)
"""How a report says that an organ is not there; "not seen" does not say so."""

_VERSUS = frozenset({stems("versus"), stems("vs")})
"""What hedges the one thing before it and what comes after."""

_NOT_SEEN = frozenset(
    ("not", name)
    for name in stems("seen identified visualized visualised demonstrated found")
)
"""How a report says that it does not know about an organ."""


def find_triggers(words: Sequence[Word]) -> tuple[Trigger, ...]:
    """Find the triggers of a sentence: at each word the longest, none inside another.

    Parameters
    ----------
    words : sequence of Word
        One sentence.

    """
    found: list[Trigger] = []
    start = 0
    while start < len(words):
        node = _trie()
        best: Trigger | None = None
        for position in range(start, len(words)):
            name = words[position].stem
            if name not in node:
                break
            node = node[name]
            if "" in node:
                best = Trigger(frozenset(node[""]), start, position)
        if best is None:
            start += 1
        else:
            found.append(best)
            start = best.last + 1
    return tuple(found)


def status_of(
    mention: Mention,
    words: Sequence[Word],
    triggers: Sequence[Trigger],
    mentions: Sequence[Mention],
) -> PhraseStatus | None:
    """Decide what the sentence says about one of its mentions.

    Parameters
    ----------
    mention : Mention
        One of `mentions`.
    words : sequence of Word
        The sentence.
    triggers : sequence of Trigger
        Of the sentence, from `find_triggers`.
    mentions : sequence of Mention
        All mentions of the sentence.

    Returns
    -------
    PhraseStatus or None
        None: it is history, a question or a request, and the report does not say
        that it is in the images.

    """
    is_structure = mention.concept.kind is not ConceptKind.FINDING
    negated = hedged = False
    for one in triggers:
        if one.last < mention.first:
            if not _reaches_after(one, mention.first, words, triggers):
                continue
            if TriggerKind.HISTORY in one.kinds:
                return None
            if TriggerKind.NEGATES_AFTER in one.kinds:
                near = mention.first - one.last <= 3
                negated |= not is_structure or (near and not _is_normal(words, one))
            hedged |= TriggerKind.HEDGES_AFTER in one.kinds
        elif one.first > mention.first:
            if not _reaches_before(one, mention, words, triggers):
                continue
            is_last = not any(other.first > one.last for other in mentions)
            names = tuple(words[i].stem for i in range(one.first, one.last + 1))
            if is_structure:
                negated |= names in _GONE
                hedged |= names in _NOT_SEEN
                continue
            inside = one.last < mention.last
            negated |= not inside and (
                TriggerKind.NEGATES_BEFORE in one.kinds or _is_answer(words, one)
            )
            # "The heart is not enlarged": the trigger stands inside the name.
            negated |= inside and TriggerKind.NEGATES_AFTER in one.kinds
            looks_back = is_last or TriggerKind.HEDGES_AFTER not in one.kinds
            if names in _VERSUS:
                looks_back = not any(
                    mention.last < other.first < one.first for other in mentions
                )
            hedged |= TriggerKind.HEDGES_BEFORE in one.kinds and looks_back
    if hedged:
        return PhraseStatus.UNCERTAIN
    return PhraseStatus.ABSENT if negated else PhraseStatus.PRESENT


def _is_answer(words: Sequence[Word], trigger: Trigger) -> bool:
    """Whether it is the answer "no" of a form: "Pneumothorax: No"."""
    return (
        words[trigger.first].stem == "no"
        and trigger.last == len(words) - 1
        and ":" in words[trigger.first - 1].gap
    )


def _is_normal(words: Sequence[Word], trigger: Trigger) -> bool:
    """Whether the negation is of "abnormality", which says that all is well."""
    after = words[trigger.last + 1 : trigger.last + 4]
    return any(one.stem.startswith("abnormal") for one in after)


def _reaches_after(
    trigger: Trigger,
    target: int,
    words: Sequence[Word],
    triggers: Sequence[Trigger],
) -> bool:
    """Whether nothing ends the trigger's scope before the target word."""
    ends = {
        one.first
        for one in triggers
        if TriggerKind.ENDS in one.kinds and one.first > trigger.last
    }
    for position in range(trigger.last + 1, target + 1):
        gap = words[position - 1].gap
        if position in ends or ";" in gap or ("\n" in gap and ":" in gap):
            return False
        if TriggerKind.HISTORY in trigger.kinds and "," in gap:
            return False
        is_joint = words[position].stem == "and" or (
            "," in gap and words[position].stem not in ("and", "or", "nor")
        )
        if is_joint and _starts_statement(position, "," in gap, words):
            return False
    return True


def _starts_statement(position: int, is_comma: bool, words: Sequence[Word]) -> bool:
    """Whether what follows a comma or an "and" is a statement of its own."""
    rest = words[position:]
    if is_comma:
        for one in rest:
            if one.stem in ("or", "nor"):
                return False
            if ";" in one.gap:
                break
    content = [one for one in rest[:2] if one.stem != "and"]
    if content and content[0].stem in _NEW_ITEM:
        return True
    for one in rest:
        if one.stem in _FINITE:
            return True
        if "," in one.gap or ";" in one.gap:
            break
    return False


def _reaches_before(
    trigger: Trigger,
    mention: Mention,
    words: Sequence[Word],
    triggers: Sequence[Trigger],
) -> bool:
    """Whether the trigger looks back as far as the mention."""
    if trigger.first > mention.last:
        gaps = "".join(one.gap for one in words[mention.last : trigger.first])
        # "Effusion, no longer seen" looks over one comma, not over two statements.
        if ";" in gaps or gaps.count(",") > 1:
            return False
        between = range(mention.last + 1, trigger.first)
        return not any(
            TriggerKind.ENDS in one.kinds and one.first in between
            for one in triggers
            if words[one.first].stem not in ("which", "with")
        )
    return True


@cache
def _trie() -> dict[str, Any]:
    source = resources.files("dicom_node.reports") / "data" / "context.json"
    table = json.loads(source.read_text(encoding="utf-8"))
    root: dict[str, Any] = {}
    for kind in TriggerKind:
        for text in table[kind.value]:
            node = root
            for name in stems(text):
                node = node.setdefault(name, {})
            node.setdefault("", set()).add(kind)
    return root
