"""Who may associate, and what they are told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dicom_node.config import CallerSettings
from dicom_node.errors import SettingsError
from dicom_node.scp.admission import may_call
from tests.builders.dicom_server import running_server
from tests.builders.process import wait_until
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    RawPeer,
    associate_request,
    command_set,
    encode_data_set,
    make_instance,
    p_data,
)

CONTEXTS = [(1, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE])]
PACS = CallerSettings(ae_title="PACS", address="10.1.0.0/16")
LOCAL = CallerSettings(ae_title="PACS", address="127.0.0.1")


@pytest.mark.parametrize(
    ("callers", "ae_title", "address", "expected"),
    [
        ((), "ANY", "127.0.0.1", True),
        ((), "ANY", "::1", True),
        ((), "ANY", "10.1.0.7", False),
        ((), "", "127.0.0.1", False),
        ((PACS,), "PACS", "10.1.2.3", True),
        ((PACS,), "PACS", "10.2.0.1", False),
        ((PACS,), "OTHER", "10.1.2.3", False),
        ((PACS,), "pacs", "10.1.2.3", False),
        ((PACS,), "PACS", "127.0.0.1", False),
        ((PACS,), "PACS", "fe80::1", False),
        ((PACS, LOCAL), "PACS", "127.0.0.1", True),
        ((PACS,), "PACS", "not an address", False),
    ],
)
def test_a_caller_is_known_by_ae_title_and_address(
    callers: tuple[CallerSettings, ...], ae_title: str, address: str, expected: bool
) -> None:
    assert may_call(callers, ae_title, address) is expected


@pytest.mark.parametrize(
    ("options", "expected", "reason"),
    [
        ({"called": "WRONG"}, (1, 1, 7), "called"),
        ({"calling": "STRANGER"}, (1, 1, 3), "calling"),
        ({"calling": "PA\x1bCS"}, (1, 1, 3), "calling"),
        ({"calling": "PACS\n"}, (1, 1, 3), "calling"),
        ({"calling": "\xc4\xd6"}, (1, 1, 3), "calling"),
        ({"calling": ""}, (1, 1, 3), "calling"),
        ({"application_context": "1.2.3"}, (1, 1, 2), "application_context"),
        ({"version": 2}, (1, 2, 2), "protocol_version"),
    ],
)
def test_others_are_rejected_with_the_reason_and_counted(
    tmp_path: Path,
    options: dict[str, object],
    expected: tuple[int, int, int],
    reason: str,
) -> None:
    with running_server(tmp_path, callers=(LOCAL,)) as node:
        with RawPeer(node.port) as peer:
            peer.send(associate_request(CONTEXTS, **options))  # type: ignore[arg-type]

            kind, body = peer.read_pdu()

            assert kind == 3
            assert tuple(body[1:]) == expected
        statistics = node.server.statistics
        assert statistics.associations_rejected[reason] == 1
        assert statistics.associations_accepted == 0
        assert node.released == []


def test_one_association_too_many_is_told_to_try_again(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, max_associations=2) as node,
        RawPeer(node.port) as first,
        RawPeer(node.port) as second,
    ):
        first.associate()
        second.associate()
        with RawPeer(node.port) as third:
            third.send(associate_request(CONTEXTS))
            assert third.read_pdu() == (3, bytes((0, 2, 3, 2)))
        first.release()
        wait_until(
            lambda: node.server.statistics.open_associations == 1,
            timeout_s=1,
            what="the first to end",
        )

        with RawPeer(node.port) as fourth:
            fourth.associate()


def test_fifty_callers_at_once_are_all_served(tmp_path: Path) -> None:
    answers = _call_at_once(tmp_path, callers=50, max_associations=64)

    assert answers == ["stored"] * 50


def test_two_hundred_callers_at_once_are_served_or_told_to_try_again(
    tmp_path: Path,
) -> None:
    answers = _call_at_once(tmp_path, callers=200, max_associations=40)

    assert set(answers) <= {"stored", "rejected"}
    assert answers.count("stored") >= 40


def _call_at_once(tmp_path: Path, *, callers: int, max_associations: int) -> list[str]:
    barrier = threading.Barrier(callers)
    answers: list[str] = []

    def call(number: int, port: int) -> None:
        barrier.wait()
        with RawPeer(port, timeout_s=20) as peer:
            peer.send(associate_request(CONTEXTS))
            kind, body = peer.read_pdu()
            if kind == 3 and body == bytes((0, 2, 3, 2)):
                answers.append("rejected")
                return
            assert kind == 2, kind
            status = peer.store(make_instance(f"1.2.{number}")).status
            assert peer.release() == 6
            answers.append("stored" if status == 0 else hex(status))

    with running_server(tmp_path, max_associations=max_associations) as node:
        threads = [
            threading.Thread(target=call, args=(number, node.port))
            for number in range(callers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(answers) == callers
    return answers


def test_a_port_that_is_taken_is_told_plainly(tmp_path: Path) -> None:
    with running_server(tmp_path) as node:
        settings = node.server._settings
        taken = settings.model_copy(
            update={"node": settings.node.model_copy(update={"port": node.port})}
        )
        node.server._settings = taken

        with pytest.raises(SettingsError, match="cannot listen on"):
            type(node.server).start(node.server)


def test_stopping_ends_idle_associations_at_once_and_waits_for_the_busy_one(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path) as node:
        with RawPeer(node.port) as idle, RawPeer(node.port) as busy:
            idle.associate()
            busy.associate()
            data = encode_data_set(make_instance("1.2.9"))
            busy.send(p_data(command_set(1, sop_instance="1.2.9"), is_command=True))
            busy.send(p_data(data[:40], is_last=False))
            wait_until(lambda: bool(node.parts()), timeout_s=1, what="a part")
            stopper = threading.Thread(target=node.server.stop, args=(3.0,))
            stopper.start()

            assert idle.read_pdu()[0] == 7
            busy.send(p_data(data[40:]))
            assert busy.response().status == 0
            stopper.join(3)
            assert not stopper.is_alive()

        with pytest.raises(ConnectionError):
            RawPeer(node.port)
        assert len(node.files()) == 1
