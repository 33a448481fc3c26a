"""Find every wording of the knowledge file that a phrase contains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.knowledge.labels import ANYWHERE, Label
from model.knowledge.words import Words, places_of, to_words

__all__ = ["Match", "Wordings"]

_GAP = 4
"""Most words between the two halves of a wording such as "cyst ~ liver"."""


@dataclass(frozen=True, slots=True)
class Match:
    """An entry, how long its wording is, and which words of the phrase it took."""

    name: str
    length: int
    used: tuple[int, ...]
    is_anywhere: bool = False

    @property
    def rank(self) -> tuple[bool, int, tuple[int, ...]]:
        """Put places before what may be anywhere, then the longest, then the first."""
        return self.is_anywhere, -self.length, self.used


class Wordings:
    """Every wording of some entries.

    Parameters
    ----------
    entries
        Halves of a pair are not among them: the pair and a side mean them.

    Raises
    ------
    ValueError
        One wording names two entries.
    """

    def __init__(self, entries: Sequence[Label]) -> None:
        self.table: dict[Words, str] = {}
        self.exact: set[Words] = set()
        self._scattered: list[tuple[Words, Words, str]] = []
        self._anywhere = {one.name for one in entries if one.region == ANYWHERE}
        for one in entries:
            for text in (one.name, *one.synonyms, *one.also):
                self._add(text, one.name)
            self.exact |= {to_words(text) for text in (one.name, *one.synonyms)}
        self._longest = max(map(len, self.table), default=0)

    def _add(self, text: str, name: str) -> None:
        first, tilde, second = text.partition("~")
        if tilde:
            self._scattered.append((to_words(first), to_words(second), name))
            return
        words = to_words(text)
        if self.table.setdefault(words, name) != name:
            raise ValueError(f"{text!r} names {self.table[words]!r}, too")

    def matches(self, words: Words) -> list[Match]:
        """Return all wordings that `words` contain, the best first."""
        found = [*self._together(words), *self._apart(words)]
        return sorted(found, key=lambda match: match.rank)

    def _together(self, words: Words) -> list[Match]:
        found = []
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + self._longest) + 1):
                name = self.table.get(words[start:end])
                if name is not None:
                    used = tuple(range(start, end))
                    found.append(self._match(name, words, used))
        return found

    def _apart(self, words: Words) -> list[Match]:
        found = []
        for first, second, name in self._scattered:
            for one in places_of(first, words):
                for two in places_of(second, words):
                    a = tuple(range(one, one + len(first)))
                    b = tuple(range(two, two + len(second)))
                    gap = max(one, two) - min(a[-1], b[-1]) - 1
                    if 0 <= gap <= _GAP:
                        found.append(self._match(name, words, tuple(sorted(a + b))))
        return found

    def _match(self, name: str, words: Words, used: tuple[int, ...]) -> Match:
        length = sum(len(words[at]) for at in used)
        return Match(name, length, used, name in self._anywhere)
