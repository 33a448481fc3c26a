"""A node that crashes under load: what it is given, and what must be true after it."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom

from dicom_node.config import DicomPeer
from dicom_node.errors import StoreError
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.store import Store
from tests.builders.archive import Archive
from tests.builders.forked_node import ForkedNode
from tests.builders.process import free_port, wait_until
from tests.torture.load import Acknowledged, Load, Senders
from tests.torture.outcome import Figure, at_least, at_most, seen

__all__ = ["CrashingNode", "crashing_node", "wait_for_leftovers"]

_OBJECTS = 2
"""Result objects of each version, by `ForkedNode`."""


@dataclass
class CrashingNode:
    """A node, its senders, its archive, and what was seen of its crashes."""

    folder: Path
    data_dir: Path
    url: str
    port: int
    config: Path
    forked: ForkedNode
    pacs: Archive
    senders: Senders
    interrupted: Counter[str] = field(default_factory=Counter)
    """What crashes interrupted: ``start``, ``receive``, ``work``, ``delivery``."""
    starts_s: list[float] = field(default_factory=list)
    """From each start until it listened."""
    left_parts: int = 0
    """Unfinished files that were there after a start."""

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Run the node, listening, while the block lasts; then kill it."""
        before = set(self.data_dir.rglob("*.part"))
        began = time.monotonic()
        with self.forked.running() as pid:
            self.forked.wait_for_port(self.port)
            self.starts_s.append(time.monotonic() - began)
            self.left_parts += sum(path.exists() for path in before)
            yield pid

    def note_interrupted(self) -> None:
        """Look at what a crash interrupted."""
        self.interrupted.update(_interrupted(self.data_dir, self.url))

    def kill_during(self, what: str, *, tries: int = 10) -> None:
        """Kill the node while something is under way: ``receive``, ``work``, ..."""
        for _ in range(tries):
            with self.listening():
                wait_until(
                    lambda: _is_under_way(what, self.data_dir, self.url),
                    timeout_s=120,
                    what=lambda: f"{what}\n{self.forked.tail()}",
                    interval_s=0.005,
                )
            before = self.interrupted[what]
            self.note_interrupted()
            if self.interrupted[what] > before:
                return

    def finish(
        self, *, at_the_end: Callable[[], None] = lambda: None
    ) -> tuple[Figure, ...]:
        """Let it finish its work undisturbed, and judge what came of everything.

        Parameters
        ----------
        at_the_end : callable
            Called when it is finished and killed, before it is judged.

        """
        with self.listening():
            stuck = self.senders.finish()
            with Store(self.url) as store:
                wait_until(
                    lambda: _is_finished(store),
                    timeout_s=300,
                    what=lambda: f"{store.counts()}\n{self.forked.tail()}",
                )
            leftovers = wait_for_leftovers(self.data_dir)
        at_the_end()
        with Store(self.url) as store:
            figures = self._judge(store)
        return (
            *figures,
            at_most("senders that did not get through", stuck, 0),
            at_most(".part files there after a start", self.left_parts, 0),
            at_most("leftovers at the end", len(leftovers), 0),
        )

    def is_finished(self) -> bool:
        """Return whether everything was processed and delivered."""
        with Store(self.url) as store:
            return _is_finished(store)

    def judge(self) -> tuple[Figure, ...]:
        """Judge what came of everything that was acknowledged."""
        with Store(self.url) as store:
            return self._judge(store)

    def _judge(self, store: Store) -> tuple[Figure, ...]:
        acknowledged = self.senders.acknowledged
        lost = _lost(store, self.data_dir, acknowledged)
        by_uid: dict[str, set[bytes]] = defaultdict(set)
        made: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for study, uid, data in self.pacs.arrivals:
            by_uid[uid].add(hashlib.sha256(data).digest())
            ds = pydicom.dcmread(
                io.BytesIO(data), force=True, specific_tags=["ContentLabel"]
            )
            made[study][str(ds.ContentLabel)].add(uid)
        without = sum(
            len(made[study][str(len(samples))]) != _OBJECTS
            for study, samples in acknowledged.studies.items()
        )
        # The label is how many images a version has: one version for each number.
        twice = sum(
            len(uids) != _OBJECTS for of in made.values() for uids in of.values()
        )
        delivered = store.counts().deliveries.get(("pacs", "delivered"), 0)
        resent = len(self.pacs.arrivals) - len(by_uid)
        return (
            at_least("acknowledged instances", len(acknowledged.samples()), 1),
            at_most("acknowledged and lost, or other bytes", lost, 0),
            at_most("studies whose last images have no result", without, 0),
            at_most("versions that were finished more than once", twice, 0),
            at_most(
                "result UIDs delivered with other bytes",
                sum(len(contents) > 1 for contents in by_uid.values()),
                0,
            ),
            at_most("results not delivered", abs(delivered - len(by_uid)), 0),
            at_most("result files lost or damaged", _damaged(self.data_dir), 0),
            seen("results delivered", len(by_uid)),
            seen("of these sent again, same UID and bytes", resent),
        )


@contextmanager
def crashing_node(
    folder: Path,
    *,
    load: Load,
    seed: int,
    data_dir: Path,
    url: str | None = None,
    more: str = "",
) -> Iterator[CrashingNode]:
    """Prepare a node with senders that begin at once; start it by `listening`.

    Parameters
    ----------
    folder : pathlib.Path
        Settings, log and what is on its way.
    load : Load
        What the senders do.
    seed : int
        Of the senders.
    data_dir : pathlib.Path
        The node's data folder.
    url : str, optional
        Its database; SQLite in the data folder when absent.
    more : str
        TOML that is added to the table ``[node]`` of its settings.

    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()

    def slow_answer(_uid: str) -> int:
        time.sleep(0.05)
        return 0x0000

    peer = DicomPeer(name="node", ae_title="GROUNDING", host="127.0.0.1", port=port)
    with Archive(answer=slow_answer) as pacs:
        config = folder / "node.toml"
        config.write_text(
            "[node]\n"
            f"port = {port}\n"
            f"data_dir = {json.dumps(str(data_dir))}\n"
            "quiet_time_s = 0.5\n"
            + (f"database_url = {json.dumps(url)}\n" if url else "")
            + more
            + "[web]\nenabled = false\n"
            '[model]\ndevice = "cpu"\n'
            "[limits]\nmin_free_bytes = 0\n"
            "[[destinations]]\n"
            'name = "pacs"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
            f"port = {pacs.destination.port}\n"
        )
        with (
            ForkedNode(config, folder / "node.log") as forked,
            Senders(folder / "sent", peer, load=load, seed=seed) as senders,
        ):
            yield CrashingNode(
                folder,
                data_dir,
                url or f"sqlite:///{data_dir / 'node.sqlite'}",
                port,
                config,
                forked,
                pacs,
                senders,
            )


def wait_for_leftovers(data_dir: Path) -> list[Path]:
    """Return what nobody needs any more, and is there once all work is done."""
    folders = ("incoming", "processing", "scratch")
    # The last version's folder goes away just after its row says that it is done.
    end = time.monotonic() + 5.0
    while True:
        found = [path for name in folders for path in (data_dir / name).glob("*")]
        found += data_dir.rglob("*.part")
        found += _results_without_row(data_dir)
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def _results_without_row(data_dir: Path) -> list[Path]:
    path = data_dir / "node.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        named = {
            row[0] for row in connection.execute("SELECT result_dir FROM versions")
        } | {
            str(Path(row[0]).parent)
            for row in connection.execute("SELECT path FROM results")
        }
    return [
        one
        for one in (data_dir / "results").glob("*")
        if f"results/{one.name}" not in named
    ]


def _damaged(data_dir: Path) -> int:
    """Count results that a row vouches for and whose file has not its bytes."""
    path = data_dir / "node.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT path, sha256 FROM results").fetchall()
    return sum(not _has_hash(data_dir / name, sha256) for name, sha256 in rows)


def _has_hash(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _is_under_way(what: str, data_dir: Path, url: str) -> bool:
    # What arrives is gone in milliseconds: no database is asked first.
    if what == "receive":
        return any(data_dir.glob("incoming/*.part"))
    return what in _interrupted(data_dir, url)


def _interrupted(data_dir: Path, url: str) -> set[str]:
    if url.startswith("sqlite") and not (data_dir / "node.sqlite").exists():
        return {"start"}
    found = set()
    if list(data_dir.glob("incoming/*.part")):
        found.add("receive")
    with Store(url) as store:
        try:
            counts = store.counts()
        except StoreError:  # killed before the tables were made
            return {"start"}
    if counts.queued_versions:
        found.add("work")
    if counts.deliveries.get(("pacs", "pending")):
        found.add("delivery")
    return found


def _is_finished(store: Store) -> bool:
    counts = store.counts()
    return set(counts.studies) == {"done"} and {
        state for _, state in counts.deliveries
    } == {"delivered"}


def _lost(store: Store, data_dir: Path, acknowledged: Acknowledged) -> int:
    """Count acknowledged instances without row, file or the bytes that were sent."""
    stored = {}
    last = 0
    while files := store.recorded_files(after_id=last):
        last = files[-1].instance_id
        for row in files:
            path = data_dir / row.path
            if not path.exists():
                continue
            header = read_header(path)
            if instance_sha256(path, header) == path.stem == row.sha256:
                data = path.read_bytes()[header.data_set_offset :]
                stored[header.sop_instance_uid] = hashlib.sha256(data).hexdigest()
    return sum(stored.get(one.uid) != one.data_set for one in acknowledged.samples())
