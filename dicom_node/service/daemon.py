"""``dicom-node serve`` as a process: signals, what it keeps private, and its end."""

from __future__ import annotations

import logging
import os
import signal
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from dicom_node.audit import configure_logging
from dicom_node.heap import keep_heap_small
from dicom_node.private_memory import keep_memory_private
from dicom_node.scratch import clear_scratch
from dicom_node.service.node import NodeService
from dicom_node.spool import Spool
from dicom_node.turns import take_short_turns

if TYPE_CHECKING:
    from dicom_node.config import NodeSettings
    from dicom_node.workflows import StudyProcessor

__all__ = ["TAKEN_OVER", "run_node"]

_SIGNAL_LOOK_S = 1.0
"""How often the main thread looks for a signal that came just before its wait."""

TAKEN_OVER = 75
"""Exit code when another node has taken over, sysexits' EX_TEMPFAIL: started again,
this one waits for the other."""


def run_node(
    settings: NodeSettings, *, processor: StudyProcessor | None = None
) -> None:
    """Run a node until SIGTERM or SIGINT; the process ends with it.

    Parameters
    ----------
    settings : NodeSettings
        Everything the operator decides.
    processor : StudyProcessor, optional
        Makes the results; the pipeline with the configured model when absent.

    Raises
    ------
    SettingsError
        A port or the data folder cannot be used.
    StoreError
        The database cannot be opened.

    """
    # An event's lock may be held by the very thread that the signal interrupts;
    # putting into this queue is safe there.
    asked: SimpleQueue[int] = SimpleQueue()

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.put(number)

    keep_memory_private()
    keep_heap_small()
    take_short_turns()
    configure_logging(level=settings.node.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    data_dir = settings.node.data_dir.resolve()
    Spool(data_dir, min_free_bytes=0)  # makes the folders
    node = NodeService(settings, processor=processor)
    if node.claim.take(is_cancelled=lambda: not asked.empty()) is not None:
        clear_scratch(data_dir)
        node.start()
        # A signal that comes just before a wait does not end it: look now and then.
        while not _is_asked(asked):
            if node.claim.is_taken_over:
                node.leave()
                _exit(TAKEN_OVER)
        node.stop()
    # Everything is durable and closed. A library's thread that waits for a peer,
    # the model or its own queue would hold the process.
    _exit(0)


def _is_asked(asked: SimpleQueue[int]) -> bool:
    try:
        asked.get(timeout=_SIGNAL_LOOK_S)
    except Empty:
        return False
    return True


def _exit(code: int) -> None:
    logging.shutdown()
    os._exit(code)
