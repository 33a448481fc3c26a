"""Say in one sentence what a number means, so that it never travels without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Definition"]


@dataclass(frozen=True)
class Definition:
    """What one metric means."""

    name: str
    """As the report's tables call it"""
    sentence: str
    """One sentence: what is counted, over what, and what a miss counts"""
    better: Literal["higher", "lower"] = "higher"
    reference: str = ""
    """Paper or code that the definition follows"""
