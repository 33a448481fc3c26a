"""An answer reaches who waits for it: no late thread and no set clock takes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.presentation import build_context

from conformance.profile import VERIFICATION_SOP_CLASS_UID
from dicom_node.receive import InstanceReceiver
from dicom_node.retrieve.storing import Arrivals
from dicom_node.scu import Timeouts, associate
from dicom_node.spool import Spool
from tests.builders.archive import Archive
from tests.builders.dicom_server import MemoryLedger

_MakeDimse = Callable[[Association], DIMSEServiceProvider]


@pytest.fixture(params=["sends", "fetches"])
def make_dimse(request: pytest.FixtureRequest, tmp_path: Path) -> _MakeDimse | None:
    """Make what puts messages together for who sends and for who fetches."""
    if request.param == "sends":
        return None
    receiver = InstanceReceiver(Spool(tmp_path, min_free_bytes=0), MemoryLedger())
    return Arrivals(
        receiver, ae_title="ARCHIVE", address="127.0.0.1", max_bytes=1 << 20
    ).make_dimse


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
    monkeypatch: pytest.MonkeyPatch, make_dimse: _MakeDimse | None
) -> None:
    timeouts = Timeouts(response_s=3.0)
    with (
        Archive() as pacs,
        associate(
            [build_context(VERIFICATION_SOP_CLASS_UID)],
            pacs.destination.peer,
            ae_title="NODE",
            timeouts=timeouts,
            make_dimse=make_dimse,
        ) as link,
    ):
        late = _PassedLate()
        late.set()
        link.association._reactor_checkpoint = late
        time.sleep(0.2)
        _wait_late(link.association.dimse, monkeypatch)

        answer = link.association.send_c_echo()

    assert answer.get("Status") == 0x0000


def test_an_association_outlasts_a_step_of_the_wall_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    true_time = time.time
    pacs = Archive()
    # It lives by the same clock, and is not what is looked at.
    pacs._ae.network_timeout = None
    with (
        pacs,
        associate(
            [build_context(VERIFICATION_SOP_CLASS_UID)],
            pacs.destination.peer,
            ae_title="NODE",
            timeouts=Timeouts(),
        ) as link,
        monkeypatch.context() as patch,
    ):
        # More than any timeout; the thread of the association looks every millisecond.
        patch.setattr(time, "time", lambda: true_time() + 310.0)
        time.sleep(0.3)

        assert link.association.send_c_echo().get("Status") == 0x0000


def test_an_association_without_traffic_ends_after_the_timeout() -> None:
    with (
        Archive() as pacs,
        associate(
            [build_context(VERIFICATION_SOP_CLASS_UID)],
            pacs.destination.peer,
            ae_title="NODE",
            timeouts=Timeouts(response_s=0.2),
        ) as link,
    ):
        assert link.is_closed.wait(10.0)
        assert link.association.is_aborted
