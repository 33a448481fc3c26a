"""Two lanes for versions: one of many pictures at a time, beside it one of few.

A radiograph that comes while a large CT is under way need not wait for it. Within a
lane the order is as ever, and what is more urgent is not passed: a small version that
waits for an urgent large one goes back to its queue when an urgent small one comes.
Nothing waits for ever: a large version waits for large ones only, and a small one for
at most the large one that is under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dicom_node.grounding.process import SMALL_PICTURES
from dicom_node.workflows.order import end_of_row, row_of

__all__ = ["SMALL_QUEUE", "Lanes", "is_small"]

SMALL_QUEUE = "process-small"
"""Where versions of few pictures wait for their lane."""

_LOOK_S = 0.2
"""How often it is looked whether the node stops."""

_LOOKS_AT_QUEUE = 5
"""After so many of these looks it is asked whether somebody more urgent has come."""


def is_small(pictures: int) -> bool:
    """Whether a version of so many frames takes the lane of the small ones."""
    return pictures <= SMALL_PICTURES


class Lanes:
    """Lets versions begin: at most one large, and beside it what is small.

    Parameters
    ----------
    is_stopping : threading.Event
        Set when the node stops.
    has_small : callable
        Whether a small version waits in its queue whose place is at most this.

    """

    def __init__(
        self, is_stopping: threading.Event, *, has_small: Callable[[int], bool]
    ) -> None:
        self._is_stopping = is_stopping
        self._has_small = has_small
        self._changed = threading.Condition()
        self._large: int | None = None

    @contextmanager
    def enter(self, place: int, *, pictures: int) -> Iterator[bool]:
        """Wait until a version may begin; it is under way while the block lasts.

        Parameters
        ----------
        place : int
            Where it stands in the queue; see `place_in_line`.
        pictures : int
            How many frames it has.

        Yields
        ------
        bool
            Whether it begins. False: it is to go back to its queue, because another
            that waits there may begin at once, or the node stops.

        """
        is_large = not is_small(pictures)
        if not self._wait(place, is_large):
            yield False
            return
        try:
            yield True
        finally:
            if is_large:
                with self._changed:
                    self._large = None
                    self._changed.notify_all()

    def _wait(self, place: int, is_large: bool) -> bool:
        looks = 0
        while True:
            with self._changed:
                if self._may_begin(place, is_large):
                    if is_large:
                        self._large = place
                    return True
                if self._is_stopping.is_set():
                    return False
                self._changed.wait(_LOOK_S)
                large = self._large
            looks += 1
            if is_large or large is None or looks % _LOOKS_AT_QUEUE:
                continue
            # Not under the lock: this asks the database.
            if self._has_small(end_of_row(row_of(large))):
                return False

    def _may_begin(self, place: int, is_large: bool) -> bool:
        if self._large is None:
            return True
        return not is_large and row_of(place) <= row_of(self._large)
