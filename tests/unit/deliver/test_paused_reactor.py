"""A reactor that was paused stays paused when a report has been served."""

from __future__ import annotations

import threading

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
)

from dicom_node.config import DicomPeer
from dicom_node.scu import Timeouts, associate
from tests.builders.process import wait_until


def test_a_report_that_ends_while_the_reactor_waits_leaves_it_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = AE("ARCHIVE")
    peer.add_supported_context(StorageCommitmentPushModel, ExplicitVRLittleEndian)
    server = peer.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    paused = threading.Event()

    def serve(self: Association, _message: object, _context_id: int) -> None:
        # As pynetdicom does it, in a thread of its own (dimse.py).
        self._is_paused = True
        assert paused.wait(10)
        self._is_paused = False

    monkeypatch.setattr(Association, "_serve_request", serve)
    try:
        with associate(
            [build_context(StorageCommitmentPushModel, ExplicitVRLittleEndian)],
            DicomPeer(
                name="a",
                ae_title="ARCHIVE",
                host="127.0.0.1",
                port=server.server_address[1],
            ),
            ae_title="NODE",
            timeouts=Timeouts(),
            on_report=lambda _event: (0, None),
        ) as link:
            one = link.association
            report = threading.Thread(target=one._serve_request, args=(None, 1))
            report.start()
            one._reactor_checkpoint.clear()
            waiters = one._reactor_checkpoint._cond._waiters  # type: ignore[attr-defined]
            wait_until(lambda: len(waiters) > 0, timeout_s=10, what="the reactor")
            paused.set()
            report.join()

            is_paused = one._is_paused
            one._reactor_checkpoint.set()
    finally:
        server.shutdown()

    assert is_paused
