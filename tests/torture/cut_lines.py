"""Deliveries whose line is cut at random bytes, to three kinds of archives."""

from __future__ import annotations

import hashlib
import io
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from dicom_node.config import DestinationSettings
from tests.builders.process import free_port
from tests.builders.storescp import StoreScp, run_storescp
from tests.builders.stow_server import Answer, accepted, run_stow_server
from tests.torture.delivering_node import DeliveringNode, run_delivering
from tests.torture.keeping_archive import Arrivals, run_keeping_archive
from tests.torture.outcome import Figure, Tell, at_least, at_most, seen
from tests.torture.proxy import Fault, FaultProxy

__all__ = ["cut_deliveries"]

_SEED = 15
_OBJECTS = 2
_PADDING = 20_000
_ANSWERS = 900
"""More bytes than a destination answers to a delivery."""
_ADVANCE_S = 310.0
"""More than the longest wait for another try."""
_STEP_S = 0.5
_HOUR_S = 3700.0
"""More than the wait for a report of storage commitment."""
_CABLE_S = 150.0
"""More than one real timeout; two deliveries to a destination run at a time."""


class _Cutter:
    """Chooses where connections are cut until enough were."""

    def __init__(self, seed: int, cuts: int) -> None:
        self._draw = random.Random(seed)
        self._cuts = cuts
        self.cables = 0
        """How many connections in all are to swallow everything at some byte."""
        self.proxy: FaultProxy | None = None

    @property
    def is_done(self) -> bool:
        return self.proxy is not None and self.proxy.cuts >= self._cuts

    def plan(self, _number: int) -> Fault:
        """Return the fault of a connection; the first shows how long one is."""
        proxy, draw = self.proxy, self._draw
        if proxy is None or not proxy.most_unharmed:
            return Fault()
        if proxy.swallowed < self.cables:
            # Early enough that a connection which delivers gets there.
            at = draw.randrange(1, proxy.most_unharmed // 2)
            return Fault(cut_after=at, is_swallowing=True)
        if self.is_done or draw.random() < 0.3:
            return Fault()
        kind = draw.random()
        forward = answer = None
        if kind < 0.5:
            forward = draw.randrange(1, proxy.most_unharmed)
        elif kind < 0.65:  # the end of the last data set, and A-RELEASE-RQ
            forward = proxy.most_unharmed - draw.randrange(0, 40)
        else:
            answer = draw.randrange(1, _ANSWERS)
        return Fault(
            cut_after=forward,
            answer_cut_after=answer,
            is_reset=draw.random() < 0.5,
            is_half_close=forward is not None and draw.random() < 0.2,
        )


@dataclass(frozen=True)
class _Line:
    """A destination behind a proxy."""

    destination: DestinationSettings
    cutter: _Cutter
    arrivals: Callable[[], dict[str, list[str]]]

    @property
    def proxy(self) -> FaultProxy:
        assert self.cutter.proxy is not None
        return self.cutter.proxy


def cut_deliveries(
    work: Path, *, cuts: int, batch: int, cables: int, tell: Tell
) -> tuple[Figure, ...]:
    """Cut each destination's share of the connections; judge what came.

    Parameters
    ----------
    work : pathlib.Path
        New.
    cuts : int
        How many connections are cut.
    batch : int
        How many studies are sent whenever less than that is on its way.
    cables : int
        How many swallow everything from a random byte on.
    tell : callable
        Told how far it is.

    """
    work.mkdir(parents=True)
    dicom_port = free_port()
    with ExitStack() as stack:
        lines = _lines(stack, work, dicom_port, cuts)
        node = stack.enter_context(
            run_delivering(
                work / "node",
                [one.destination for one in lines],
                dicom_port=dicom_port,
                objects=_OBJECTS,
                padding=_PADDING,
            )
        )
        sent = 0
        node.send_studies([sent])
        node.wait_for(lambda: all(one.proxy.most_unharmed for one in lines))
        while not all(one.cutter.is_done for one in lines):
            if len(_waiting(node, lines)) < batch * _OBJECTS:
                node.send_studies(range(sent + 1, sent + 1 + batch))
                sent += batch
            time.sleep(_STEP_S)
            node.clock.advance(_ADVANCE_S)
            if sent % 20 == 0:
                tell(f"{sum(one.proxy.cuts for one in lines)} cuts")
        swallowed_s = _pull_cables(node, lines, cables, sent) if cables else None
        sent += cables
        tell("waiting until all is delivered")
        _settle(node, lines)
        figures: list[Figure] = [
            seen("results of the cut lines", (sent + 1) * _OBJECTS)
        ]
        for one in lines:
            figures += _judge(node, one)
        if swallowed_s is not None:
            figures += [
                at_least("cables pulled", lines[0].proxy.swallowed, cables),
                at_most(
                    "stored in spite of pulled cables",
                    round(swallowed_s),
                    _CABLE_S * max(2, cables),
                    "s",
                ),
            ]
        return tuple(figures)


def _lines(
    stack: ExitStack, work: Path, dicom_port: int, cuts: int
) -> tuple[_Line, ...]:
    shares = [cuts - cuts // 2, cuts // 4, cuts // 2 - cuts // 4]
    reports = _Cutter(_SEED + 9, cuts // 8)
    reports.proxy = stack.enter_context(
        FaultProxy(dicom_port, lambda number: _report_fault(reports, number))
    )
    archive = stack.enter_context(
        run_keeping_archive(free_port(), report_port=reports.proxy.port)
    )
    dcmtk = stack.enter_context(run_storescp(work / "storescp"))
    stow_arrivals = Arrivals()
    stow = stack.enter_context(
        run_stow_server(lambda _path, parts: _take(stow_arrivals, parts))
    )
    ports = [archive.port, dcmtk.port, int(stow.url.split(":")[2].split("/")[0])]
    cutters = [_Cutter(_SEED + n, share) for n, share in enumerate(shares)]
    for cutter, port in zip(cutters, ports, strict=True):
        cutter.proxy = stack.enter_context(FaultProxy(port, cutter.plan))
    through = [one.proxy.port for one in cutters if one.proxy is not None]
    return (
        _Line(
            _dimse("pynetdicom", "ARCHIVE", through[0]),
            cutters[0],
            archive.arrivals.copy,
        ),
        _Line(
            _dimse("storescp", "STORESCP", through[1]),
            cutters[1],
            lambda: _arrivals_of(dcmtk),
        ),
        _Line(
            DestinationSettings.model_validate(
                {
                    "name": "stow",
                    "kind": "stow",
                    "url": f"http://127.0.0.1:{through[2]}/dicom-web",
                }
            ),
            cutters[2],
            stow_arrivals.copy,
        ),
    )


def _dimse(name: str, ae_title: str, port: int) -> DestinationSettings:
    return DestinationSettings(
        name=name, ae_title=ae_title, host="127.0.0.1", port=port
    )


def _report_fault(cutter: _Cutter, number: int) -> Fault:
    """Cut every second association that brings a report of a commitment."""
    if number % 2 or cutter.is_done:
        return Fault()
    draw = random.Random(f"{_SEED}.{number}")
    return Fault(cut_after=draw.randrange(1, 1200), is_reset=draw.random() < 0.5)


def _take(arrivals: Arrivals, parts: list[bytes]) -> Answer:
    if not parts:
        return Answer()
    stored: dict[str, int | None] = {}
    for part in parts:
        uid = str(
            dcmread(io.BytesIO(part), specific_tags=["SOPInstanceUID"]).SOPInstanceUID
        )
        length = int.from_bytes(part[140:144], "little")
        arrivals.note(uid, part[144 + length :])
        stored[uid] = None
    return Answer(body=accepted(stored))


def _arrivals_of(store: StoreScp) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in store.files():
        data = path.read_bytes()
        ds = dcmread(io.BytesIO(data), specific_tags=["SOPInstanceUID"])
        length = int.from_bytes(data[140:144], "little")
        digest = hashlib.sha256(data[144 + length :]).hexdigest()
        found.setdefault(str(ds.SOPInstanceUID), []).append(digest)
    return found


def _waiting(node: DeliveringNode, lines: tuple[_Line, ...]) -> list[str]:
    return [
        one.uid
        for line in lines
        for one in node.results(line.destination.name)
        if one.state != "delivered"
    ]


def _settle(node: DeliveringNode, lines: tuple[_Line, ...]) -> None:
    """Set the clock ahead until everything is delivered."""

    def is_settled() -> bool:
        if not _waiting(node, lines):
            return True
        time.sleep(2 * _STEP_S)
        node.clock.advance(_HOUR_S)
        return False

    # The work that is still in the queue comes into the outbox first.
    time.sleep(2.0)
    node.wait_for(is_settled, timeout_s=300)


def _pull_cables(
    node: DeliveringNode, lines: tuple[_Line, ...], count: int, sent: int
) -> float:
    """Let connections swallow everything; return how long until all is stored."""
    _settle(node, lines)
    archive = lines[0]
    name = archive.destination.name
    began = time.monotonic()
    archive.cutter.cables = count
    node.send_studies(range(sent + 1, sent + 1 + count))
    made = (sent + 1 + count) * _OBJECTS

    def is_stored() -> bool:
        states = node.states(name)
        return states.total() >= made and not states["pending"]

    # No jump of the clock: timeouts and the first waits are real. The report of a
    # commitment may be lost, too, and is waited for by the clock that is set ahead.
    node.wait_for(is_stored, timeout_s=2 * _CABLE_S * max(2, count))
    return time.monotonic() - began


def _judge(node: DeliveringNode, line: _Line) -> tuple[Figure, ...]:
    name = line.destination.name
    made = {one.uid: one for one in node.results(name)}
    arrived = line.arrivals()
    undelivered = sum(one.state != "delivered" for one in made.values())
    other = sum(
        any(found != made[uid].data_set_sha256() for found in hashes)
        for uid, hashes in arrived.items()
    )
    twice = sum(len(hashes) - 1 for hashes in arrived.values())
    return (
        at_least(f"{name}: lines cut", line.proxy.cuts, 1),
        at_most(f"{name}: results lost", len(set(made) - set(arrived)), 0),
        at_most(f"{name}: results not delivered", undelivered, 0),
        at_most(f"{name}: objects with other bytes", other, 0),
        seen(f"{name}: sent again after an answer was lost", twice),
    )
