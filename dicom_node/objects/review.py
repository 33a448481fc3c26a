"""What people say of a result's regions, as its objects carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Judgement", "Review", "Verdict", "Verifier"]


class Verdict(StrEnum):
    """What a person did with a region."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REDRAWN = "redrawn"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person said last of one region."""

    verdict: Verdict
    person: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Who takes responsibility for a report (PS3.3 C.17.2, Verifying Observer)."""

    name: str
    organisation: str
    """Type 1 in the standard: nobody verifies for nobody."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Review:
    """What was said of a result; the objects made of it are the corrected ones."""

    judgements: Mapping[str, Judgement]
    """By tracking UID; a region without one was not looked at."""
    verifier: Verifier | None = None

    @property
    def people(self) -> tuple[str, ...]:
        """Whoever said something, in alphabetical order."""
        return tuple(sorted({one.person for one in self.judgements.values()}))

    def is_redrawn(self, tracking_uid: str) -> bool:
        """Whether a person drew the region anew."""
        said = self.judgements.get(tracking_uid)
        return said is not None and said.verdict is Verdict.REDRAWN
