"""One study lies on the bench, but for its time at a model, near or far."""

from __future__ import annotations

import threading
from typing import Any, cast

from dicom_node.assembly import system_clock
from dicom_node.pipeline import Rooms
from dicom_node.records import StudyReady
from dicom_node.remote import RemoteGateway, RemoteModel
from dicom_node.stages import StageLog
from dicom_node.workflows.workbench import Workbench


class Gateway:
    """A remote model that looks whether another study may have the bench."""

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.was_free = False

    def ask(self, *_: object, **__: object) -> None:
        self.was_free = self.lock.acquire(blocking=False)
        if self.was_free:
            self.lock.release()


def test_a_study_that_is_sent_to_a_remote_model_keeps_no_other_waiting() -> None:
    lock = threading.Lock()
    gateway = Gateway(lock)
    model = RemoteModel(cast("RemoteGateway", gateway), "far")
    rooms = Rooms(reader=cast("Any", None), grounder=model)

    with Workbench(lock, StageLog(system_clock)) as bench:
        lent = bench.lend(rooms).grounder
        assert isinstance(lent, RemoteModel)
        lent.ask(cast("StudyReady", None), series=(), phrases=())
        assert lock.locked()

    assert gateway.was_free
    assert not lock.locked()
