"""Words that decide what a sentence says: negations, hedges, history, "normal"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from dicom_node.reports.words import Word, stems

__all__ = ["Trigger", "TriggerKind", "find_triggers"]


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
