"""In which order versions are processed: by what they cost, and they age.

A version's place is fixed when it is queued: the moment of its queueing, and for each
of its pictures so much later. A radiograph goes before the CT that came a minute
earlier, and nothing waits for ever: only what came within that time can overtake.
What is under way is not taken back, but small ones pass it in a lane of their own.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dicom_node.rules import PRIORITIES

__all__ = ["FIRST", "PATIENCE_S", "end_of_row", "place_in_line", "row_of"]

FIRST = 1
"""The place of what a person asked for: before everything else."""

PATIENCE_S = 2.0
"""For each picture a version lets others go first that come so much later."""

_MOST_PATIENCE_S = 3600.0
"""No version waits longer for smaller ones, however large it is."""

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_ROOM = 1 << 29
"""Places of one priority: a second each, for 17 years; the queue counts to 2^31."""


def place_in_line(
    priority: str, *, queued_at: datetime, pictures: int, by_cost: bool = True
) -> int:
    """Return where a version stands in the queue; the lower goes first.

    Parameters
    ----------
    priority : str
        A name of `rules.PRIORITIES`; a higher priority always goes first.
    queued_at : datetime.datetime
        When the version was complete, aware.
    pictures : int
        How many frames it has: what the model has to look at.
    by_cost : bool
        False: whoever came first goes first.

    """
    if priority == "requested":
        return FIRST
    patience_s = min(PATIENCE_S * pictures, _MOST_PATIENCE_S) if by_cost else 0.0
    seconds = int((queued_at - _EPOCH).total_seconds() + patience_s)
    row = PRIORITIES[priority] - PRIORITIES["urgent"]
    return FIRST + 1 + row * _ROOM + min(max(seconds, 0), _ROOM - 1)


def end_of_row(row: int) -> int:
    """Return the last place of a priority, which `row_of` gives."""
    return FIRST + (row + 1) * _ROOM if row >= 0 else FIRST


def row_of(place: int) -> int:
    """Return the priority of a place, -1 for what a person asked for; lower is first.

    Parameters
    ----------
    place : int
        As `place_in_line` gives it.

    """
    return -1 if place <= FIRST else (place - FIRST - 1) // _ROOM
