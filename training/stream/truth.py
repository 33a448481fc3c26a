"""Decide what the labels of a picture say about a phrase that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.knowledge import load_knowledge
from model.knowledge.words import SIDE_WORDS, Words, said_side, to_words
from training.stream.picture import Place, PlacedPicture

__all__ = ["Asked", "Thing", "Truth", "ask", "truth_of", "union"]

Thing = Words | str
"""What a label means: the name of an entry of the knowledge file, or its words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A phrase in a batch."""

    text: str
    words: Words
    thing: Thing
    side: str | None
    is_plain: bool
    """It says the thing and perhaps its side, and nothing else"""
    is_pair: bool
    """Without a side it means both halves of a pair"""


@dataclass(frozen=True, eq=False)
class Truth:
    """What one picture says about one phrase."""

    known: bool
    places: tuple[Place, ...] = ()
    """Where it is; none: it is absent, if known"""


@lru_cache(maxsize=65536)
def ask(text: str, label: str) -> Asked:
    """Understand a phrase and the label that it belongs to."""
    words = to_words(text)
    thing, _ = _meaning(label)
    own, side = _meaning(text)
    return Asked(
        text=text,
        words=words,
        thing=thing,
        side=side if side is not None else said_side(words, ()),
        is_plain=own == thing,
        is_pair=thing in _pairs(),
    )


def truth_of(asked: Asked, picture: PlacedPicture) -> Truth:
    """Return where a phrase is on a picture, that it is absent, or that nobody knows.

    A phrase of a report ("spiculated nodule in the left upper lobe") is true of the
    region it was written for; of other regions with its label nobody knows, unless
    they are of the other side. A plain name is true of every region with its label.
    What a picture was searched for and what has no region is absent.
    """
    same = [
        (place, other)
        for place in picture.places
        if (other := ask(place.text, place.label)).thing == asked.thing
    ]
    near = [(p, o) for p, o in same if _could_be(asked, o)]
    if any(place.status == "unknown" for place, _ in near):
        return Truth(known=False)
    present = [(p, o) for p, o in near if p.status == "present"]
    verbatim = tuple(p for p, o in present if o.words == asked.words)
    if verbatim and not asked.is_plain:
        return Truth(known=True, places=verbatim)
    if present and not asked.is_plain:
        return Truth(known=False)
    if present and asked.side is not None:
        # A place without a side may be on either.
        sure = all(o.side == asked.side for _, o in present)
        return Truth(known=sure, places=tuple(p for p, _ in present) if sure else ())
    if present:
        sides = {o.side for _, o in present} | _searched_sides(asked, picture)
        whole = not asked.is_pair or None in sides or sides >= {"left", "right"}
        return Truth(known=whole, places=tuple(p for p, _ in present) if whole else ())
    denied = {
        other.side
        for place, other in near
        if place.status == "absent" and (other.is_plain or other.words == asked.words)
    }
    denied |= _searched_sides(asked, picture)
    return Truth(known=_covers(denied, asked.side))


def _could_be(asked: Asked, other: Asked) -> bool:
    return asked.side is None or other.side is None or asked.side == other.side


def _searched_sides(asked: Asked, picture: PlacedPicture) -> set[str | None]:
    """Return the sides on which annotators looked for the thing; None: everywhere."""
    found = (_meaning(label) for label in picture.label_space)
    return {side for thing, side in found if thing == asked.thing}


def _covers(sides: Iterable[str | None], wanted: str | None) -> bool:
    sides = set(sides)
    if None in sides or wanted in sides:
        return True
    return wanted is None and sides >= {"left", "right"}


@lru_cache(maxsize=65536)
def _meaning(text: str) -> tuple[Thing, str | None]:
    """Return what a label means, without its side, and the side."""
    knowledge = load_knowledge()
    place = knowledge.meaning(text)
    words = to_words(text)
    if place is None:
        side = said_side(words, ())
        return tuple(word for word in words if word not in SIDE_WORDS), side
    name, side = place
    return knowledge.pair_of.get(name, name), side


@lru_cache(maxsize=1)
def _pairs() -> frozenset[str]:
    return frozenset(load_knowledge().pair_of.values())


def union(places: Iterable[Place], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (rows, columns): where any of the places is."""
    mask = np.zeros(shape, dtype=np.bool_)
    for place in places:
        mask |= place.masks.any(0)
    return mask
