"""A caller has its answer before the log has its line."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conformance.profile import Status
from dicom_node.receive import Reception
from tests.builders.dicom_server import running_server
from tests.builders.raw_peer import RawPeer, make_instance


def test_the_answer_does_not_wait_for_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_log, logged = threading.Event(), threading.Event()
    write_line = Reception.log_answer

    def late(reception: Reception) -> None:
        assert may_log.wait(10)
        write_line(reception)
        logged.set()

    monkeypatch.setattr(Reception, "log_answer", late)
    with running_server(tmp_path) as node, RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(make_instance()).status == Status.SUCCESS
        assert not logged.is_set()
        may_log.set()
        assert logged.wait(10)
