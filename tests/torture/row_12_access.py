"""Access: who is not who they say is refused, told of, and soon not even heard."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders.certificates import Authority
from tests.builders.network import loopback_network
from tests.builders.process import free_port, wait_for_port
from tests.torture.nodes import WatchedNode, run_watched
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.tls_peers import echo, orthanc

__all__ = ["run"]

_PER_MINUTE = 60
_MINUTE_S = 60.0
_KINDS = ("association_refused", "tls_failed")
_PLACES = {
    "unknown calling": "127.0.0.2",
    "unknown called": "127.0.0.3",
    "right title, wrong address": "127.0.0.4",
    "right title, wrong certificate": "127.0.0.5",
}
"""Each kind of caller comes from an address of its own."""


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Call as somebody else a thousand times a minute, beside a caller who may."""
    short = scale is Scale.SHORT
    tries, lasts_s = (100, 3.0) if short else (1000, _MINUTE_S)
    authority = Authority(work / "ca")
    own, other = authority.sign("own"), authority.sign("other")
    port = free_port()
    node_pair = authority.sign("node")
    tls = f"""
refusals_per_minute = {_PER_MINUTE}
[dicom_tls]
enabled = true
port = {port}
certificate = "{node_pair.certificate}"
private_key = "{node_pair.private_key}"
client_ca = "{authority.path}"
"""
    callers = f"""
[[callers]]
ae_title = "GOOD"
address = "127.0.0.1"
[[callers]]
ae_title = "BOUND"
address = "127.0.0.5"
certificate_sha256 = "{own.fingerprint}"
"""
    with run_watched(work / "node", limits=tls, hl7=callers) as node:
        wait_for_port(port, timeout_s=20, what=lambda: "the TLS port")
        base = node.hold()
        wrong = authority.client(other)

        def knock(kind: str) -> bool:
            source = _PLACES[kind]
            if kind == "right title, wrong certificate":
                return echo(port, wrong, calling="BOUND", source=source).is_served
            return echo(
                node.dicom_port,
                None,
                calling="GOOD" if "address" in kind else "STRANGER",
                called="OTHERNODE" if "called" in kind else "GROUNDING",
                source=source,
            ).is_served

        with _Bystander(node.dicom_port) as good:
            served = _storm(knock, tries=tries, lasts_s=lasts_s, tell=tell)
        most = node.hold().threads - base.threads
        figures = [
            *(at_most(f"{kind}: served", count, 0) for kind, count in served.items()),
            at_least("good caller: C-ECHOs meanwhile", len(good.took_s), 3),
            at_most("good caller: not served", good.failed, 0),
            at_most(
                "good caller: C-ECHO",
                round(max(good.took_s, default=99.0), 3),
                10.0 if short else 1.0,
                "s",
            ),
            at_most("threads more than before", most, 4),
            *_logged(node, minutes=1 + int(lasts_s // _MINUTE_S)),
        ]
        if not short:
            # Whoever shares an address with a culprit waits no longer than a minute.
            tell("a minute of peace")
            time.sleep(_MINUTE_S + 1)
            back = echo(
                port, authority.client(own), calling="BOUND", source="127.0.0.5"
            )
            figures.append(
                at_least("caller of a culprit's address, later", int(back.is_served), 1)
            )
        figures.append(at_most("exits", 0 if node.is_alive() else 1, 0))
        figures.append(at_most("uncaught errors", node.unexpected().total(), 0))
    figures += _audited(work / "node" / "data" / "node.sqlite", tries=tries)
    anchors = {} if short else _anchors(work, tries=tries, tell=tell)
    return Outcome(tuple(figures), anchors)


@dataclass
class _Bystander:
    """Who may call and does, now and then, while others knock."""

    port: int
    took_s: list[float] = field(default_factory=list)
    failed: int = 0

    def __enter__(self) -> _Bystander:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _call(self) -> None:
        while True:
            told = echo(self.port, None, calling="GOOD")
            self.took_s.append(told.took_s)
            self.failed += not told.is_served
            if self._is_over.wait(0.25):
                return


def _storm(
    knock: Callable[[str], bool], *, tries: int, lasts_s: float, tell: Tell
) -> Counter[str]:
    """Knock so often of each kind, spread over a time; return who was served."""
    served: Counter[str] = Counter(dict.fromkeys(_PLACES, 0))

    def one(kind: str) -> None:
        began = time.monotonic()
        for number in range(tries):
            due = began + lasts_s * number / tries
            time.sleep(max(0.0, due - time.monotonic()))
            served[kind] += knock(kind)

    tell(f"{tries} tries of each kind in {lasts_s:g} s")
    threads = [threading.Thread(target=one, args=(kind,)) for kind in _PLACES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return served


def _logged(node: WatchedNode, *, minutes: int) -> Iterator[Figure]:
    """Yield how much of it there is in the log: not a line for each try."""
    events = Counter(one.get("event", "") for one in node.events())
    refused = events["association_rejected"]
    yield at_least("refusals logged", refused, 1)
    limit = len(_PLACES) * _PER_MINUTE * minutes
    yield at_most("refusals logged, at the most", refused, limit)
    yield at_most(
        "log lines about who is turned away",
        events["address_turned_away"],
        len(_PLACES) * minutes,
    )


def _audited(database: Path, *, tries: int) -> Iterator[Figure]:
    """Yield what the audit trail has: few rows, and no try left out of their sums."""
    with closing(sqlite3.connect(database)) as connection:
        rows = [
            json.loads(detail)
            for (detail,) in connection.execute(
                "SELECT detail FROM events WHERE kind IN (?, ?)", _KINDS
            )
        ]
    told: Counter[str] = Counter()
    for row in rows:
        told[row["peer_address"]] += row["count"] + row["turned_away"]
    for kind, address in _PLACES.items():
        missing = abs(tries - told[address])
        yield at_most(f"{kind}: tries missing in the audit", missing, 0)
    yield at_least("audit rows", len(rows), len(_PLACES))
    yield at_most("audit rows, at the most", len(rows), 10 * len(_PLACES))


def _anchors(work: Path, *, tries: int, tell: Tell) -> Mapping[str, tuple[Figure, ...]]:
    """Ask Orthanc, with the settings it has by default, the same."""
    tell("Orthanc")
    with loopback_network(), orthanc(work / "orthanc", {}) as port:
        calling = [
            echo(port, None, calling="STRANGER", called="ORTHANC", source="127.0.0.2")
            for _ in range(tries)
        ]
        called = [
            echo(port, None, calling="STRANGER", called="OTHERNODE", source="127.0.0.3")
            for _ in range(tries)
        ]
    return {
        "Orthanc 1.10.1 by default": (
            seen("unknown calling: served", sum(one.is_served for one in calling)),
            seen("unknown called: served", sum(one.is_served for one in called)),
        )
    }
