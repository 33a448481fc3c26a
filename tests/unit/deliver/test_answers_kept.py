"""An answer reaches who waits for it, however late the library's own thread is."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.presentation import build_context

from conformance.profile import VERIFICATION_SOP_CLASS_UID
from dicom_node.scu import Timeouts, associate
from tests.builders.archive import Archive


class _PassedLate(threading.Event):
    """Lets a thread pass, which the machine then leaves aside for a moment."""

    def wait(self, timeout: float | None = None) -> bool:
        is_set = super().wait(timeout)
        time.sleep(0.4)
        return is_set


def _wait_late(dimse: DIMSEServiceProvider, patch: pytest.MonkeyPatch) -> None:
    """Let who asks begin to wait long after the answer is there."""
    get_msg = dimse.get_msg

    def late(block: bool = False) -> Any:
        if block:
            time.sleep(1.0)
        return get_msg(block)

    patch.setattr(dimse, "get_msg", late)


def test_an_answer_is_not_taken_by_the_thread_that_looks_for_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts = Timeouts(response_s=3.0)
    with (
        Archive() as pacs,
        associate(
            [build_context(VERIFICATION_SOP_CLASS_UID)],
            pacs.destination.peer,
            ae_title="NODE",
            timeouts=timeouts,
        ) as link,
    ):
        late = _PassedLate()
        late.set()
        link.association._reactor_checkpoint = late
        time.sleep(0.2)
        _wait_late(link.association.dimse, monkeypatch)

        answer = link.association.send_c_echo()

    assert answer.get("Status") == 0x0000
