"""What a node has started, and the order in which it ends."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto

import structlog

__all__ = ["Closing", "Part"]

log = structlog.get_logger(__name__)


class Part(IntEnum):
    """Parts of a node in the order in which they end.

    It is not their start turned round: nothing may come in any more before what is
    under way ends, and what others still write to ends last.
    """

    ROUNDS = auto()
    """Housekeeping is told to begin no new round."""
    DICOM = auto()
    COMMITMENT = auto()
    HL7 = auto()
    ASSEMBLY = auto()
    UPKEEP = auto()
    RETRIEVE = auto()
    WORKLIST = auto()
    REMOTES = auto()
    WORKFLOWS = auto()
    PROCESSOR = auto()
    WEB = auto()
    DOCUMENTS = auto()
    GUARD = auto()
    TRAIL = auto()
    """The end is written into the audit trail."""
    AUDIT = auto()
    STORE = auto()
    CLAIM = auto()


class Closing:
    """Ends what was started, whether all of it was or only a part."""

    def __init__(self) -> None:
        self._stops: dict[Part, Callable[[], None]] = {}

    def add(self, part: Part, stop: Callable[[], None]) -> None:
        """Take note that a part runs, and how it ends."""
        self._stops[part] = stop

    def close(self) -> None:
        """End every part that runs, in their order; one that fails keeps none."""
        for part in sorted(self._stops):
            try:
                self._stops.pop(part)()
            except Exception:
                log.exception("stop_failed", part=part.name.lower())
