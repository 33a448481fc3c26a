"""Power cut: what was not synced is gone, and nothing acknowledged is."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tests.builders.network import loopback_network
from tests.torture.anchors import Anchor, OrthancAnchor, StoreScpAnchor, judge
from tests.torture.crash import crashing_node
from tests.torture.durable_tree import Variant
from tests.torture.load import Load, Senders
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.power_disk import PowerDisk

__all__ = ["run"]

_SEED = 3
_VARIANTS = tuple(Variant)
_DATABASES = ("node.sqlite", "dbos.sqlite")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much of the test is run."""

    cuts: int
    load: Load
    anchor_cuts: int


_SIZES = ((2 << 10, 0.5), (64 << 10, 0.3), (512 << 10, 0.19), (4 << 20, 0.01))
_PLANS = {
    Scale.SHORT: _Plan(3, Load(3, 2, _SIZES, study_pause_s=2.0, late=0), 0),
    Scale.FULL: _Plan(100, Load(8, 6, _SIZES, study_pause_s=6.0), 20),
    Scale.SOAK: _Plan(1000, Load(8, 6, _SIZES, study_pause_s=6.0), 100),
}


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Cut the power of the disk that holds the node's whole data folder."""
    plan = _PLANS[scale]
    work.mkdir(exist_ok=True)
    figures = _cut_node(work, plan, tell)
    anchors = {}
    if plan.anchor_cuts:
        name, told = _cut_anchor(StoreScpAnchor, work / "storescp", plan, tell)
        anchors[name] = told
        with loopback_network():
            name, told = _cut_anchor(OrthancAnchor, work / "orthanc", plan, tell)
            anchors[name] = told
    return Outcome(
        figures,
        anchors,
        (
            "the disk obeys POSIX to the letter: a file's name is durable once its "
            "folder is synced; ext4 and XFS keep more, so the anchors lose less there",
            "the results are a quick stand-in's; everything else is the node",
        ),
    )


def _cut_node(work: Path, plan: _Plan, tell: Tell) -> tuple[Figure, ...]:
    draw = random.Random(_SEED)
    dropped_writes = dropped_names = damaged = 0
    with ExitStack() as stack:
        disk = stack.enter_context(PowerDisk(work / "disk", log_path=work / "disk.log"))
        node = stack.enter_context(
            crashing_node(
                work / "node",
                load=plan.load,
                seed=_SEED,
                data_dir=disk.folder / "data",
            )
        )
        for number in range(plan.cuts):
            # Every tenth comes on its way up, the others in full work.
            if number % 10 == 9:
                with node.forked.running():
                    time.sleep(draw.uniform(0.0, 0.5))
            else:
                with node.listening():
                    time.sleep(draw.uniform(0.05, 1.5))
            dropped = disk.cut(_VARIANTS[number % len(_VARIANTS)], seed=number)
            dropped_writes += dropped.writes
            dropped_names += dropped.names
            damaged += _damaged_databases(node.data_dir, work / "copies")
            if number % 20 == 19:
                told = len(node.senders.acknowledged.samples())
                tell(f"{number + 1} cuts, {told} instances acknowledged")

        def cut_at_the_end() -> None:
            disk.cut(Variant.ALL, seed=plan.cuts)

        figures = node.finish(at_the_end=cut_at_the_end)
    return (
        seen("power cuts", plan.cuts),
        *figures,
        at_most("databases that do not open whole", damaged, 0),
        at_least("writes that cuts took", dropped_writes, 1),
        at_least("changes of names that cuts took", dropped_names, 1),
    )


def _damaged_databases(data_dir: Path, copies: Path) -> int:
    """Open copies, which leaves the work of opening the real ones to the node."""
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for name in _DATABASES:
        for path in data_dir.glob(f"{name}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copies)
    return sum(
        not _is_whole(copies / name) for name in _DATABASES if (copies / name).exists()
    )


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            told = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError:
        return False
    return bool(told == ("ok",))


def _cut_anchor(
    make: Callable[..., Anchor], work: Path, plan: _Plan, tell: Tell
) -> tuple[str, tuple[Figure, ...]]:
    draw = random.Random(_SEED)
    work.mkdir()
    failed = 0
    with ExitStack() as stack:
        disk = stack.enter_context(PowerDisk(work / "disk", log_path=work / "disk.log"))
        storage = disk.folder / "storage"
        storage.mkdir()
        _sync(disk.folder)
        anchor = make(work / "anchor", storage=storage)
        stack.callback(anchor.kill)
        senders = stack.enter_context(
            Senders(work / "sent", anchor.peer, load=plan.load, seed=_SEED)
        )
        for number in range(plan.anchor_cuts):
            try:
                anchor.start()
            except AssertionError:
                # Its database does not open: its operator would begin anew.
                failed += 1
                anchor.kill()
                shutil.rmtree(storage)
                storage.mkdir()
                _sync(disk.folder)
                continue
            time.sleep(draw.uniform(0.05, 1.5))
            anchor.kill()
            disk.cut(_VARIANTS[number % len(_VARIANTS)], seed=number)
        anchor.start()
        senders.finish()
        anchor.kill()
        tell(f"{anchor.name}: {plan.anchor_cuts} cuts")
        return anchor.name, (
            seen("power cuts", plan.anchor_cuts),
            *judge(anchor, senders.acknowledged),
            seen("starts that failed", failed),
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
