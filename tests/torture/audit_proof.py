"""The repository is away while thousands of things happen: all arrive, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml.etree import XMLSyntaxError

from dicom_node.audit import EventKind
from dicom_node.config import load_settings
from dicom_node.store import Store
from dicom_node.store.events import record_event
from tests.builders.audit_judge import judge
from tests.builders.process import free_port, wait_until
from tests.builders.raw_peer import RawPeer, make_instance
from tests.builders.rsyslog import SyslogServer, TestAuthority
from tests.torture.nodes import WatchedNode, run_watched
from tests.torture.outcome import Figure, Tell, at_most, seen

__all__ = ["AuditPlan", "prove_audit"]

_MSG_ID = b" - DICOM+RFC3881 - "
_TRANSFERS = "110104"
_TOGETHER = 50
"""Events of one commit."""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """How much happens.

    Attributes
    ----------
    events : int
        Refused sign-ins while the repository is away; then half as many again while it
        is stopped and started under load.
    studies : int
        Studies of three instances that are sent meanwhile.
    away_s : float
        How long it is away at least.
    stops : int
        How often it is stopped while it catches up.
    patience_s : float
        How long it may take to catch up.

    """

    events: int
    studies: int
    away_s: float
    stops: int
    patience_s: float


def prove_audit(plan: AuditPlan, work: Path, tell: Tell) -> tuple[Figure, ...]:
    """Run a node and rsyslog, and compare what happened with what was kept."""
    authority = TestAuthority(work / "ca")
    port = free_port()
    server = SyslogServer(work / "rsyslog", port=port, authority=authority)
    audit_file = work / "audit.log"
    # The last table of the settings: another may follow it.
    more = _SETTINGS.format(port=port, file=audit_file, authority=authority)
    folder = work / "node"
    expected: list[str] = []
    with server.running(), run_watched(folder, hl7=more):
        wait_until(
            lambda: bool(server.messages()), timeout_s=60, what="the node's start"
        )
    began = time.monotonic()
    with run_watched(folder, hl7=more) as node:
        _happen(folder, node, expected, plan.events // 2, plan.studies)
    # What is not sent outlives the process.
    with run_watched(folder, hl7=more):
        _happen(folder, None, expected, plan.events - len(expected), 0)
        time.sleep(max(0.0, plan.away_s - (time.monotonic() - began)))
        away_s = time.monotonic() - began
        tell(f"{len(expected)} events while the repository was away {away_s:.0f} s")
        back = time.monotonic()
        for stop in range(plan.stops):
            with server.running():
                before = len(server.messages())
                _wait_for(lambda at=before: len(server.messages()) > at, plan)
            tell(f"the repository stopped again, {stop + 1}")
            _happen(folder, None, expected, plan.events // (2 * plan.stops), 0)
        with server.running():
            _wait_for(lambda: len(_people(server.messages())) == len(expected), plan)
            caught_up_s = time.monotonic() - back
            _wait_for(lambda: not _backlog(folder), plan)
            left = _backlog(folder)
    kept = server.messages()
    written = [
        line.partition(_MSG_ID)[2] for line in audit_file.read_bytes().split(b"\n")
    ]
    written = [line for line in written if line]
    return (
        seen("events", len(expected)),
        seen("repository away", round(away_s), "s"),
        seen("repository stopped while it caught up", plan.stops, "times"),
        at_most("lost on the way to the repository", _lost(kept, expected), 0),
        at_most("out of order", _disordered(kept, expected), 0),
        at_most("not valid by PS3.15 A.5.1", _invalid(kept) + _invalid(written), 0),
        at_most("lost on the way to the file", _lost(written, expected), 0),
        at_most("out of order in the file", _disordered(written, expected), 0),
        at_most(
            "studies without a message at the repository",
            plan.studies - len(_studies(kept)),
            0,
        ),
        at_most(
            "studies without a message in the file",
            plan.studies - len(_studies(written)),
            0,
        ),
        at_most("left to send", left, 0),
        seen("sent again", len(_all_people(kept)) - len(expected)),
        seen("caught up after", round(caught_up_s), "s"),
    )


def _happen(
    folder: Path,
    node: WatchedNode | None,
    expected: list[str],
    count: int,
    studies: int,
) -> None:
    for study in range(studies if node is not None else 0):
        assert node is not None
        with RawPeer(node.dicom_port) as peer:
            peer.associate()
            for number in range(3):
                made = make_instance(f"1.2.9.{study}.{number}")
                made.StudyInstanceUID = f"1.2.9.{study}"
                assert peer.store(made).status == 0
            peer.release()
    # As another process of the node does: the command line, for one.
    with _store(folder) as store:
        for first in range(0, count, _TOGETHER):
            with store._database.write() as connection:
                for _ in range(min(_TOGETHER, count - first)):
                    name = f"person-{len(expected):06d}"
                    record_event(
                        connection,
                        EventKind.SIGN_IN_REFUSED,
                        subject=name,
                        detail={"address": "127.0.0.1", "reason": "password"},
                    )
                    expected.append(name)


def _store(folder: Path) -> Store:
    return Store(load_settings(folder / "node.toml", {}).database_url)


def _backlog(folder: Path) -> int:
    with _store(folder) as store:
        return sum(
            store.trail.backlog(f"audit-{to}").count for to in ("syslog", "file")
        )


def _wait_for(is_true: Callable[[], bool], plan: AuditPlan) -> None:
    wait_until(
        is_true, timeout_s=plan.patience_s, what="the repository", interval_s=0.2
    )


def _all_people(messages: Sequence[bytes]) -> list[str]:
    mark = b'UserID="person-'
    return [
        "person-" + one.partition(mark)[2][:6].decode()
        for one in messages
        if mark in one
    ]


def _people(messages: Sequence[bytes]) -> list[str]:
    """Return each person at the place where they came first."""
    return list(dict.fromkeys(_all_people(messages)))


def _lost(messages: Sequence[bytes], expected: Sequence[str]) -> int:
    return len(set(expected) - set(_all_people(messages)))


def _disordered(messages: Sequence[bytes], expected: Sequence[str]) -> int:
    found = _people(messages)
    arrived = set(found)
    wanted = [one for one in expected if one in arrived]
    return sum(a != b for a, b in zip(found, wanted, strict=False))


def _invalid(messages: Sequence[bytes]) -> int:
    bad = 0
    for one in messages:
        try:
            judge(one)
        except (AssertionError, XMLSyntaxError):
            bad += 1
    return bad


def _studies(messages: Sequence[bytes]) -> set[str]:
    return {key for key in map(_study_of, messages) if key}


def _study_of(message: bytes) -> str:
    root = judge(message)
    if root.find("EventIdentification/EventID").get("csd-code") != _TRANSFERS:
        return ""
    found = root.find("ParticipantObjectIdentification")
    return str(found.get("ParticipantObjectID"))


_SETTINGS = """
[audit]
file = "{file}"
host = "localhost"
port = {port}
ca = "{authority.ca}"
certificate = "{authority.client}"
private_key = "{authority.client_key}"
"""
