"""A database that is locked, or killed, cut off and stopped under load."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.builders.postgres import postgres_cluster
from tests.builders.process import wait_until
from tests.torture.crash import crashing_node
from tests.torture.faults import Samples, run_faulty, wait_s
from tests.torture.load import Load
from tests.torture.outcome import Figure, Tell, at_least, at_most, seen

__all__ = ["LOAD", "lock_sqlite", "trouble_postgres"]

LOAD = Load(
    senders=3,
    images=3,
    sizes=((4 << 10, 3), (200 << 10, 1)),
    study_pause_s=1.5,
)
_PATIENCE_S = 30.0
"""What peers commonly wait for the answer to a C-STORE."""

_FINISH_S = 300.0
_STOP_S = 14.0


def lock_sqlite(work: Path, seconds: float, *, tell: Tell) -> tuple[Figure, ...]:
    """Keep the node's database locked for so long from another process."""
    samples = Samples(work / "sent")
    answers: Counter[str] = Counter()
    slowest, wrong, red = 0.0, 0, 0
    refused = []
    with run_faulty(work) as node:
        node.send(samples.next())
        with closing(sqlite3.connect(node.data_dir / "node.sqlite")) as other:
            other.isolation_level = None
            other.execute("BEGIN EXCLUSIVE")
            end = time.monotonic() + seconds
            while time.monotonic() < end - 1:
                sample = samples.next()
                began = time.monotonic()
                status = node.send(sample)
                slowest = max(slowest, time.monotonic() - began)
                answers["none" if status is None else f"0x{status:04X}"] += 1
                wrong += status != 0xA700
                red += "database" in node.problems()
                refused.append(sample)
            other.execute("ROLLBACK")
        last = refused[-1]
        back_s = wait_s(lambda: node.send(last) == 0, timeout_s=60)
        green_s = wait_s(lambda: node.health() and not node.problems())
        wait_s(lambda: sum(node.half_visible()) == 0, timeout_s=10)
        half = sum(node.half_visible())
    tell(f"SQLite was locked for {seconds:g} s: {dict(answers)}")
    return (
        at_least("SQLite locked: answers meanwhile", answers.total(), 1),
        at_most("SQLite locked: other answers than 0xA700", wrong, 0),
        at_most("SQLite locked: slowest answer", round(slowest, 1), _PATIENCE_S, "s"),
        at_least("SQLite locked: health that said so", red, answers.total()),
        at_most("SQLite locked: files of refused instances left", half, 0),
        at_most("SQLite locked: accepts again after", round(back_s, 1), 5, "s"),
        seen("SQLite locked: health is well after", round(green_s, 1), "s"),
    )


def trouble_postgres(work: Path, *, kills: int, tell: Tell) -> tuple[Figure, ...]:
    """Kill PostgreSQL again and again, cut and stop its connections, under load."""
    draw = random.Random(5)
    cut = stopped = 0
    with postgres_cluster() as cluster:
        url = cluster.new_database()
        with (
            crashing_node(
                work, load=LOAD, seed=5, data_dir=work / "data", url=url
            ) as node,
            node.listening() as pid,
        ):
            # It listens first; a database that fails while it starts ends the start.
            wait_until(
                lambda: '"node_started"' in node.forked.log_path.read_text(),
                timeout_s=60,
                what=node.forked.tail,
            )
            for number in range(kills):
                for _ in range(3 if kills > 1 else 1):
                    time.sleep(draw.uniform(0.2, 0.8))
                    cut += _with_a_backend(url, draw, terminate=True)
                if number % 4 == 1:
                    stopped += _with_a_backend(url, draw, terminate=False)
                cluster.kill()
                time.sleep(draw.uniform(0.2, 2.0))
                cluster.start()
                time.sleep(draw.uniform(0.3, 1.0))
            stuck = node.senders.finish()
            finished_s = wait_s(node.is_finished, timeout_s=_FINISH_S)
            is_alive = Path(f"/proc/{pid}").exists()
            figures = node.judge()
            answers = len(node.senders.acknowledged.samples())
    tell(f"PostgreSQL was killed {kills} times, {answers} acknowledged")
    return (
        *(Figure(f"PostgreSQL killed: {one.name}", *_rest(one)) for one in figures),
        at_least("PostgreSQL killed under load", kills, 1, "times"),
        seen("connections cut", cut),
        seen("backends stopped for 14 s", stopped),
        at_most("senders that did not get through", stuck, 0),
        at_most("everything finished after", round(finished_s, 1), _FINISH_S - 1, "s"),
        at_least("nodes alive at the end", int(is_alive), 1),
    )


def _rest(one: Figure) -> tuple[float | str, str, str, bool | None]:
    return one.value, one.unit, one.limit, one.holds


def _with_a_backend(url: str, draw: random.Random, *, terminate: bool) -> int:
    """Cut the connection of a backend of the node, or stop it for a while."""
    plain = make_url(url).set(drivername="postgresql").render_as_string()
    try:
        with psycopg.connect(plain, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
                " ORDER BY pid"
            ).fetchall()
            if not rows:
                return 0
            pid = draw.choice(rows)[0]
            if terminate:
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
                return 1
    except psycopg.Error:
        return 0
    os.kill(pid, signal.SIGSTOP)
    time.sleep(_STOP_S)
    os.kill(pid, signal.SIGCONT)
    return 1
