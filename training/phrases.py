"""Word the anatomy: concepts, the structures they cover, and how reports say them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

__all__ = ["Concept", "Lexicon", "load_lexicon"]


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
