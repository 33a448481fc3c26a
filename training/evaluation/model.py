"""Say what an evaluation needs of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from model.records import ImageStack, PhraseGrounding

__all__ = ["Grounder", "HeatSource"]


class Grounder(Protocol):
    """Anything that grounds phrases, such as ``model.inference.GroundingModel``."""

    name: str
    version: str
    sha256: str

    def ground(
        self,
        stack: ImageStack,
        phrases: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Sequence[PhraseGrounding]:
        """Answer every phrase, in order."""
        ...


HeatSource = Callable[[ImageStack, Sequence[str]], Sequence[NDArray[Any]]]
"""Returns one (slices, rows, columns) map of evidence per phrase, at the stack's own
size; what the pointing game and CNR need beyond an answer."""
