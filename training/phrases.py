"""Word the anatomy: concepts, the structures they cover, and how reports say them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

__all__ = [
    "Concept",
    "Lexicon",
    "load_lexicon",
    "may_mirror",
    "swap_laterality",
    "swap_side",
]

_MIRRORED = {
    "left": "right",
    "lefts": "rights",
    "leftsided": "rightsided",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "leftmost": "rightmost",
    "lt": "rt",
    "lul": "rul",
    "lml": "rml",
    "lll": "rll",
    "luq": "ruq",
    "llq": "rlq",
    "levoscoliosis": "dextroscoliosis",
    "levocardia": "dextrocardia",
    "levoposition": "dextroposition",
}
"""Words of the left with those of the right."""
_SWAP = _MIRRORED | {right: left for left, right in _MIRRORED.items()}
_WORD = re.compile(r"[A-Za-z]+")
_NO_SIDE = re.compile(
    r"\b(?:left|right)(?:[ -]sided)?[ -]+(?:\w+[ -]+){0,2}?"
    r"(?:ventric(?:le|ular)|atri(?:um|al)|bundle|coronary|colon|colic|hepatic|lobe"
    r" of(?: the)? liver|liver|portal|gastric|gonadal)\b"
    r"|\blobe of(?: the)? liver\b|\blingula|\bmiddle lobe\b|\brml\b|\b(?:lv|rv)\b",
    re.IGNORECASE,
)
"""Names in which left or right is no side: the mirrored organ keeps its name."""
_NOT_THE_HEART = re.compile(r"\blateral ventric", re.IGNORECASE)


@dataclass(frozen=True)
class Concept:
    """One thing a phrase can mean.

    ``members`` are label names whose union is the region; an ``absent`` concept has
    none. ``held_out`` wordings are never trained on.
    """

    name: str
    kind: str
    members: tuple[str, ...]
    names: tuple[str, ...]
    says: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All concepts and sentence templates."""

    concepts: tuple[Concept, ...]
    templates: tuple[str, ...]
    held_out_templates: tuple[str, ...]

    def wordings(self, concept: Concept) -> tuple[str, ...]:
        """Return every training wording of `concept`, without the held-out ones."""
        phrases = dict.fromkeys(concept.names)
        for name in concept.names:
            phrases.update((t.format(x=name), None) for t in self.templates)
        phrases.update(dict.fromkeys(concept.says))
        forbidden = {text for other in self.concepts for text in other.held_out}
        return tuple(text for text in phrases if text not in forbidden)

    def draw(self, concept: Concept, rng: np.random.Generator) -> str:
        """Draw a training wording: plain name, sentence or finding, a third each."""
        forbidden = {text for other in self.concepts for text in other.held_out}
        while True:
            kind = rng.random()
            name = concept.names[rng.integers(len(concept.names))]
            if kind < 0.3 and concept.says:
                text = concept.says[rng.integers(len(concept.says))]
            elif kind < 0.65:
                text = name
            else:
                template = self.templates[rng.integers(len(self.templates))]
                text = template.format(x=name)
            if text not in forbidden:
                return text

    def find(self, name: str) -> Concept:
        """Return the concept called `name`."""
        return next(concept for concept in self.concepts if concept.name == name)


def load_lexicon() -> Lexicon:
    """Read ``training/knowledge/anatomy.json``."""
    source = resources.files("training") / "knowledge" / "anatomy.json"
    raw: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    concepts = tuple(
        Concept(
            name=name,
            kind=entry["kind"],
            members=tuple(entry["members"]),
            names=tuple(entry["names"]),
            says=tuple(entry["says"]),
            held_out=tuple(entry["held_out"]),
        )
        for name, entry in raw["concepts"].items()
    )
    return Lexicon(
        concepts=concepts,
        templates=tuple(raw["templates"]),
        held_out_templates=tuple(raw["held_out_templates"]),
    )


def swap_laterality(text: str) -> str:
    """Return the words for the mirrored picture: left becomes right and back.

    Whole words only ("upright" stays), abbreviations of lobes and quadrants too, the
    case of letters is kept. Twice applied it gives the text again. Only a mirrored
    picture may take these words, and it must.
    """
    return _WORD.sub(lambda found: _recased(found[0]), text)


def swap_side(laterality: str | None) -> str | None:
    """Return the Laterality code of the mirrored picture: L and R change places."""
    return {"L": "R", "R": "L"}.get(laterality or "", laterality)


def may_mirror(text: str) -> bool:
    """Whether the mirrored picture can be put in words by `swap_laterality`.

    It cannot where left or right belongs to the name of a part that the body has
    once: the left ventricle of a mirrored heart is no right ventricle.
    """
    return all(
        _NOT_THE_HEART.search(text[found.start() : found.end()])
        for found in _NO_SIDE.finditer(text)
    )


def _recased(word: str) -> str:
    other = _SWAP.get(word.lower())
    if other is None:
        return word
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
