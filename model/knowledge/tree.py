"""Find the label that a phrase names, and what contains it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

from model.knowledge.labels import Label, read_labels
from model.knowledge.wordings import Wordings
from model.knowledge.words import SIDE_WORDS, Words, said_side, to_words

__all__ = ["Knowledge", "Place", "load_knowledge"]

Place = tuple[str, str | None]
"""Name of an entry, and the side that is said of it."""


class Knowledge:
    """All regions, classes, groups and labels, and the ways between them.

    Parameters
    ----------
    entries
        As `read_labels` gives them.
    """

    def __init__(self, entries: Sequence[Label]) -> None:
        self._entries = {one.name: one for one in entries}
        self._place = lru_cache(maxsize=65536)(self._find_place)

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """The 198 labels."""
        return tuple(one for one in self._entries.values() if one.level == "label")

    @cached_property
    def classes(self) -> tuple[Label, ...]:
        """The 38 classes."""
        return tuple(one for one in self._entries.values() if one.level == "class")

    @cached_property
    def regions(self) -> tuple[Label, ...]:
        """The 6 body regions."""
        return tuple(one for one in self._entries.values() if one.level == "region")

    @cached_property
    def entries(self) -> tuple[Label, ...]:
        """Regions, classes, groups, pairs and labels."""
        return tuple(self._entries.values())

    def find(self, phrase: str) -> Label | None:
        """Return the entry with the longest wording that `phrase` contains.

        Whole words count, in singular or plural. A side in the phrase picks the label
        of that side ("left kidney"); without one the pair is meant ("kidneys").
        """
        place = self._place(phrase)
        return None if place is None else self._entries[place[0]]

    def describe(self, phrase: str, modality: str | None = None) -> str:
        """Return how the thing that `phrase` names looks; "" if it is unknown.

        Parameters
        ----------
        modality
            DICOM Modality (0008,0060) of the picture, for the words on brightness.
        """
        label = self.find(phrase)
        return "" if label is None else label.attributes.sentence(modality)

    def path(self, phrase: str) -> tuple[str, ...]:
        """Return (region, class, label) of `phrase`, shorter for a general one."""
        label = self.find(phrase)
        return () if label is None else label.path

    def parents(self, phrases: Sequence[str]) -> list[int]:
        """Return for each phrase the row of the nearest one that contains it, or -1.

        "left lung" lies in "lungs", "compression fracture of t12" in "spine". Two
        wordings of one thing do not contain each other.
        """
        rows: dict[Place, int] = {}
        places = [self._place(phrase) for phrase in phrases]
        for row, place in enumerate(places):
            if place is not None:
                rows.setdefault(place, row)
        return [
            -1
            if place is None
            else next(
                (rows[above] for above in self.containing(place) if above in rows), -1
            )
            for place in places
        ]

    def meaning(self, phrase: str) -> Place | None:
        """Return the place of a phrase that says its name and side and nothing else.

        Two phrases of one meaning say the same; "nodule in the left lung", "lung base"
        and what the file does not know have none.
        """
        words = to_words(phrase)
        bare = tuple(word for word in words if word not in SIDE_WORDS)
        if words not in self.wordings.exact and bare not in self.wordings.exact:
            return None
        return self._place(phrase)

    def place(self, phrase: str) -> Place | None:
        """Return the entry that `phrase` names and the side it says, or None."""
        return self._place(phrase)

    def containing(self, place: Place) -> list[Place]:
        """Return everything that contains `place`, the nearest first."""
        found: dict[Place, None] = {}
        level = [place]
        while level:
            level = [
                above
                for one in level
                for above in self._directly_above(one)
                if above not in found
            ]
            found.update(dict.fromkeys(level))
        return list(found)

    def _directly_above(self, place: Place) -> list[Place]:
        name, side = place
        entry = self._entries[name]
        pair = self.pair_of.get(name)
        above: list[Place] = []
        if pair is not None:
            above.append((pair, None))
        elif entry.side is None and side is not None:
            above.append((name, None))
        # The left half of a pair lies in the left of what the pair lies in.
        inside = entry.parent
        if pair is not None and inside == pair:
            inside = self._entries[pair].parent
        if inside is not None:
            parent = self._entries[inside]
            if side is not None:
                above.append(self._on_side(parent, side))
            else:
                above.append((parent.name, parent.side))
        return above

    def _on_side(self, entry: Label, side: str) -> Place:
        """Return the label of a pair on one side, or the entry with the side said."""
        if entry.side is not None:
            return entry.name, entry.side
        return self._halves.get((entry.name, side), entry.name), side

    @cached_property
    def _halves(self) -> dict[Place, str]:
        """Name and side of each pair, to the label of that side."""
        halves: dict[Place, str] = {}
        for one in self._entries.values():
            if one.side is not None and one.name.startswith(f"{one.side} "):
                pair = self._pairs.get(to_words(one.name)[1:])
                if pair is not None:
                    halves[pair, one.side] = one.name
        return halves

    @cached_property
    def pair_of(self) -> dict[str, str]:
        """Name of each half ("left lung"), to the name of its pair ("lungs")."""
        return {half: pair for (pair, _), half in self._halves.items()}

    @cached_property
    def _pairs(self) -> dict[Words, str]:
        """Words of every entry that stands for both sides, to its name."""
        return {
            to_words(text): one.name
            for one in self._entries.values()
            if one.level in ("pair", "class")
            for text in (one.name, *one.synonyms)
        }

    @cached_property
    def wordings(self) -> Wordings:
        """Every wording, halves of pairs left out.

        Raises
        ------
        ValueError
            One wording names two entries.
        """
        halves = set(self._halves.values())
        return Wordings([e for e in self._entries.values() if e.name not in halves])

    def _find_place(self, phrase: str) -> Place | None:
        words = to_words(phrase)
        for match in self.wordings.matches(words):
            entry = self._entries[match.name]
            side = said_side(words, match.used)
            if entry.side is None and side is None:
                return entry.name, None
            if entry.side is None and side is not None:
                return self._on_side(entry, side)
            if side in (None, entry.side):
                return entry.name, entry.side
        return None


@lru_cache(maxsize=1)
def load_knowledge() -> Knowledge:
    """Read the knowledge file once."""
    return Knowledge(read_labels())
