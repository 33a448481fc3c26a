"""How fast instances are received, made durable and answered, beside other receivers.

The sender has encoded everything before the clock starts. What storescp and stock
pynetdicom do not do, the node does before each answer: it hashes, makes file and name
durable, and records the instance in its index and its audit trail.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pynetdicom

from tests.bench.interleave import Measured, interleave
from tests.bench.receivers import (
    CEILING,
    HASHING_CEILING,
    NODE,
    ORTHANC,
    RECEIVERS,
    STOCK,
    Receiver,
    open_one,
)
from tests.bench.report import Case, Ceiling, Goal, Report, Scale, Table, Tell
from tests.builders.network import loopback_network

__all__ = ["run"]

_PEER = "storescp +B"
_FORKED = "storescp --fork"
_SERVERS = (NODE, _PEER, ORTHANC, STOCK)


@dataclass(frozen=True, slots=True)
class _Load:
    """What is sent in one case, to whom, and what is asked of the node."""

    title: str
    count: int
    pixel_bytes: int
    associations: int
    repeats: int
    contenders: tuple[str, ...]
    base: str
    goals: tuple[Goal, ...]
    ceilings: tuple[Ceiling, ...] = ()
    holds_back: bool = False
    """Whether the sender waits with the last piece of a message (Nagle)"""


_LOADS = (
    _Load(
        "300 CT images of 0.5 MB on one association",
        300,
        1 << 19,
        1,
        3,
        (NODE, _PEER, "storescp", ORTHANC, STOCK, CEILING, HASHING_CEILING),
        _PEER,
        (Goal(NODE, _PEER, 0.5), Goal(NODE, ORTHANC, 3.0)),
    ),
    _Load(
        "300 CT images of 0.5 MB on four associations",
        300,
        1 << 19,
        4,
        3,
        (NODE, _FORKED, ORTHANC, STOCK, CEILING, HASHING_CEILING),
        _FORKED,
        (Goal(NODE, _FORKED, 0.8),),
    ),
    _Load(
        "2,000 images of 20 kB on one association",
        2000,
        20_000,
        1,
        3,
        (NODE, _PEER, ORTHANC, STOCK, CEILING, HASHING_CEILING),
        _PEER,
        (Goal(NODE, _PEER, 0.7),),
    ),
    _Load(
        "one multi-frame image of 200 MB",
        1,
        400 << 19,
        1,
        3,
        (NODE, _PEER, "storescp", STOCK, CEILING, HASHING_CEILING),
        _PEER,
        (Goal(NODE, _PEER, 0.7),),
        (Ceiling(NODE, "peak MiB", 100.0),),
    ),
    _Load(
        "60 images of 20 kB from a sender as storescu is built: with Nagle's algorithm",
        60,
        20_000,
        1,
        3,
        (NODE, _PEER, ORTHANC, STOCK),
        _PEER,
        (),
        holds_back=True,
    ),
)

_ECHOES = 200
_OPENED = 100
_IDLE_S = 10


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Measure receivers in a network of their own, all of them in turn."""
    is_full = scale is Scale.FULL
    cases: list[Case] = []
    tables: list[Table] = []
    # Orthanc listens on every interface.
    with loopback_network(), ExitStack() as stack:
        opened = {
            name: stack.enter_context(open_one(name, work, waits=is_full))
            for name in RECEIVERS
        }
        for load in _LOADS:
            cases.append(_race(load, opened, tell, is_full=is_full))
        cases += _small(opened, tell, is_full=is_full)
        tables.append(_idle(opened, is_full=is_full))
    return Report(
        cases=tuple(cases),
        tables=tuple(tables),
        notes=(
            "storescp and stock pynetdicom sync nothing; Orthanc syncs each file and "
            "keeps an index. The ceilings are Python programs that read no DICOM: TCP "
            "into a file, one fsync, one byte back.",
            "The node has its limits, hash, durability, index, audit trail, web page "
            "and log on. Its studies do not become quiet, so that no processing "
            "mingles; storescp has TCP_NODELAY=1, without which each object costs "
            "44 ms. So has the sender but in the one table that says otherwise.",
            "The node starts with a database that is there, and Python's receivers "
            "without libraries that only the tests install.",
            "Before each run of each receiver the system's dirty pages are written, "
            "so that nobody pays for what another left.",
        ),
        versions={
            "DCMTK": _version("/usr/bin/storescp", "--version"),
            "Orthanc": _version("/usr/sbin/Orthanc", "--version"),
            "pynetdicom": pynetdicom.__version__,
        },
    )


def _race(
    load: _Load, opened: Mapping[str, Receiver], tell: Tell, *, is_full: bool
) -> Case:
    count = load.count if is_full else min(load.count, load.associations)
    # A multi-frame image is one of more than 64 MiB.
    pixel_bytes = load.pixel_bytes if is_full else min(load.pixel_bytes, 1 << 19)

    def contender(one: Receiver) -> Callable[[], Measured]:
        def send() -> Measured:
            if is_full:
                os.sync()
            before = one.kept()
            told, cost = one.send(
                "store",
                count=count,
                associations=load.associations,
                pixel_bytes=pixel_bytes,
                holds_back=int(load.holds_back),
            )
            if one.names_files and one.kept() - before != count:
                msg = f"{one.name} keeps {one.kept() - before} of {count}"
                raise AssertionError(msg)
            one.forget()
            return told["seconds"], {
                "MB/s": told["bytes"] / told["seconds"] / 1e6,
                "objects/s": told["count"] / told["seconds"],
                "median ms": told["median_ms"],
                "p95 ms": told["p95_ms"],
                **cost,
            }

        return send

    # Each receiver is tried in the first case, and the others go over its road again.
    names = load.contenders if is_full or load is _LOADS[0] else (NODE, load.base)
    contenders = {name: contender(opened[name]) for name in names}
    if is_full:
        contenders[NODE]()  # its folders, pools and lazy imports
    return interleave(
        load.title,
        contenders,
        base=load.base,
        repeats=load.repeats if is_full else 1,
        tell=tell,
        goals=load.goals,
        ceilings=load.ceilings,
    )


def _small(
    opened: Mapping[str, Receiver], tell: Tell, *, is_full: bool
) -> tuple[Case, Case]:
    def contender(one: Receiver, what: str, count: int) -> Callable[[], Measured]:
        def send() -> Measured:
            told, _ = one.send(what, count=count if is_full else 3)
            return told["seconds"], {}

        return send

    names = _SERVERS if is_full else (NODE, _PEER)

    def race(title: str, what: str, count: int, *, at_most_s: float) -> Case:
        return interleave(
            title,
            {name: contender(opened[name], what, count) for name in names},
            base=_PEER,
            repeats=3 if is_full else 1,
            tell=tell,
            ceilings=(Ceiling(NODE, "median s", at_most_s),),
        )

    return (
        race(
            f"one C-ECHO, the median of {_ECHOES} in each run",
            "echo",
            _ECHOES,
            at_most_s=0.001,
        ),
        race(
            f"an association is opened, the median of {_OPENED} in each run",
            "associate",
            _OPENED,
            at_most_s=0.005,
        ),
    )


def _idle(opened: Mapping[str, Receiver], *, is_full: bool) -> Table:
    rows = []
    # storescp serves one association at a time, stock pynetdicom ten.
    for name, most in ((NODE, 50), (ORTHANC, 4), (STOCK, 9)):
        one = opened[name]
        told, _ = one.send(
            "idle",
            count=_IDLE_S if is_full else 1,
            associations=most,
            pid=one.pid,
        )
        rows.append((name, most, told["none_percent"], told["open_percent"]))
    return Table(
        "CPU of the receiver while associations are open and silent",
        ("", "open associations", "CPU % without them", "CPU % with them"),
        tuple(rows),
    )


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for word in done.stdout.split():
        if word.lstrip("v")[:1].isdigit():
            return word.lstrip("v")
    msg = f"{command[0]} does not tell its version"
    raise AssertionError(msg)
