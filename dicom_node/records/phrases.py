"""What a report says: phrases, their codes, and whether they are stated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Code", "Finding", "Laterality", "Phrase", "PhraseStatus"]


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 8): scheme designator, value and meaning."""

    scheme: str
    value: str
    meaning: str


class PhraseStatus(StrEnum):
    """What the report says about a phrase."""

    PRESENT = "present"
    """The report states it."""
    ABSENT = "absent"
    """The report negates it: it is reported and never drawn."""
    UNCERTAIN = "uncertain"
    """The report hedges."""


class Laterality(StrEnum):
    """Side of the body, CID 244."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


@dataclass(frozen=True, slots=True)
class Finding:
    """How a phrase is coded in SEG and SR.

    ``category`` and ``type`` are the Segmented Property codes (CID 7150, 7151),
    ``finding`` the SR Finding (121071, DCM), ``site`` its Finding Site.
    """

    category: Code
    type: Code
    finding: Code
    site: Code | None = None


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to ground.

    ``report.text[start:end] == text`` when the phrase comes from a report;
    ``start`` and ``end`` are None otherwise. ``source`` is the report's source,
    ``argument`` or ``vocabulary``. ``prompt`` is what the model is asked: the
    phrase in its own words, with the laterality spelled out.
    """

    text: str
    source: str
    status: PhraseStatus
    finding: Finding
    prompt: str
    laterality: Laterality | None = None
    start: int | None = None
    end: int | None = None
    section: str | None = None
    measurements_mm: tuple[float, ...] = ()

    @property
    def is_stated(self) -> bool:
        """Whether a report states it; otherwise the model alone decides about it."""
        return self.source not in {"argument", "vocabulary"} and not (
            self.source.startswith("tag:")
        )
