"""What is being decoded for a caller, and how it is ended when nobody wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.child.process import ChildProcess
from dicom_node.errors import OutOfResourcesError, ProcessLostError

__all__ = ["Reading"]

_END_S = 5.0
"""How long processes that were ended are waited for."""

_LOOK_S = 0.05

_ENDED = "pixels are not wanted any more"


class Reading:
    """What is being read for somebody who may lose interest; see `PixelReader.read`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._children: set[ChildProcess] = set()
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Whether nobody wants it any more."""
        return self._is_ended

    def end(self, *, grace_s: float = 0.0) -> None:
        """Ask for nothing more, and end the processes that do not finish in time."""
        with self._changed:
            self._is_ended = True
            self._changed.wait_for(lambda: not self._children, grace_s)
            deadline = time.monotonic() + _END_S
            while self._children and time.monotonic() < deadline:
                # Again and again: one may be starting just now.
                for child in self._children:
                    child.interrupt()
                self._changed.wait(_LOOK_S)

    @contextmanager
    def using(self, child: ChildProcess) -> Iterator[None]:
        """Ask a process while the block lasts.

        Raises
        ------
        OutOfResourcesError
            Nobody wants it any more.

        """
        with self._changed:
            if self._is_ended:
                raise OutOfResourcesError(_ENDED)
            self._children.add(child)
        try:
            yield
        except ProcessLostError as error:
            if self._is_ended:
                raise OutOfResourcesError(_ENDED) from error
            raise
        finally:
            with self._changed:
                self._children.discard(child)
                self._changed.notify_all()
