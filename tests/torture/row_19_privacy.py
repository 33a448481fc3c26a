"""Looks for a patient's data where they do not belong, and tries the pages' safety."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from tests.torture.canary_node import CanaryNode, run_canary_node
from tests.torture.canary_paths import drive_paths, look_back
from tests.torture.injections import inject
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.page_attacks import attack_pages
from tests.torture.rest_calls import call_everything

__all__ = ["run"]

_CALLS = {Scale.SHORT: 30, Scale.FULL: 10_000, Scale.SOAK: 10_000}
_STUDIES = {Scale.SHORT: 2, Scale.FULL: 20, Scale.SOAK: 20}
"""Studies with a payload of their own in twelve elements."""

_MAY_HOLD = ("node.sqlite", "instances/", "results/")
"""What holds patient data by its nature: the database, what came, what was made."""

_MAY_HOLD_SECRETS = ("web-secret",)


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Run it; see `Run`."""
    figures: list[Figure] = []
    with run_canary_node(work / "node") as node:
        tell("sending the patient by every path")
        paths = drive_paths(node)
        tell("attacking the pages")
        figures += attack_pages(node, studies=_STUDIES[scale])
        tell("injecting")
        figures += inject(node)
        tell("calling the REST interface")
        figures += call_everything(node, calls=_CALLS[scale])
        look_back(node)
        status = node.abort()
        figures.append(_seen_exactly("aborted with signal", -status, 6))
    figures += _find_everywhere(node, paths)
    held, more = _find_in_data(node)
    figures += more
    return Outcome(
        tuple(figures),
        notes=(
            "patient data lie, by their nature and for the node's own user alone, in "
            + ", ".join(held),
        ),
    )


def _seen_exactly(name: str, value: float, expected: float) -> Figure:
    return Figure(name, value, "", f"exactly {expected:g}", value == expected)


def _find_everywhere(node: CanaryNode, paths: int) -> list[Figure]:
    find = node.finder.find
    log = (node.folder / "node.log").read_bytes()
    lines = log.splitlines()
    in_answers = {name: find(one) for name, one in node.said.items() if find(one)}
    in_events = _find_in_events(node)
    cores = [
        path
        for folder in ("cwd", "tmp", "data")
        for path in (node.folder / folder).glob("*core*")
    ]
    left = [
        path
        for folder in ("cwd", "tmp")
        for path in (node.folder / folder).rglob("*")
        if path.is_file() and find(path.read_bytes())
    ]
    where = [*find(log)[:3], *in_answers.items(), *in_events[:3], *node.watch.hits]
    for one in where:
        print(f"found: {one}")
    return [
        seen("paths", paths),
        at_most("canaries in the log", len(find(log)), 0),
        at_least("lines of the log", len(lines), 40),
        at_most("lines that are no event", sum(not _is_event(one) for one in lines), 0),
        at_most("canaries in answers, metrics and commands", len(in_answers), 0),
        at_least("answers that were looked at", len(node.said), 50),
        at_most("canaries in events", len(in_events), 0),
        at_most("canaries in names and processes", len(node.watch.hits), 0),
        at_least("processes that were looked at", len(node.watch.seen_pids), 3),
        at_least("environments that were read", node.watch.environments, 1),
        at_most("core files", len(cores), 0),
        at_most("temporary files with canaries", len(left), 0),
        at_most("files that others may read", len(node.watch.open_modes), 0),
        at_most("connections that were lured out", len(node.trap.connections), 0),
    ]


def _is_event(line: bytes) -> bool:
    try:
        return "event" in json.loads(line)
    except ValueError:
        return False


def _find_in_events(node: CanaryNode) -> list[object]:
    connection = sqlite3.connect(node.data_dir / "node.sqlite")
    rows = connection.execute("SELECT * FROM events").fetchall()
    connection.close()
    assert rows
    return [row for row in rows if node.finder.find(repr(row).encode())]


def _find_in_data(node: CanaryNode) -> tuple[list[str], list[Figure]]:
    """Return what holds patient data below the data folder, and what should not."""
    held: set[str] = set()
    stray: list[str] = []
    for root, _, files in os.walk(node.data_dir):
        for name in files:
            path = Path(root, name)
            if not node.finder.find(path.read_bytes()):
                continue
            place = path.relative_to(node.data_dir).as_posix()
            for prefix in _MAY_HOLD:
                if place.startswith(prefix):
                    mode = path.stat().st_mode & 0o777
                    held.add(f"{prefix}{'*' if prefix != place else ''} ({mode:04o})")
                    break
            else:
                if place not in _MAY_HOLD_SECRETS:
                    stray.append(place)
    for place in stray:
        print(f"stray: {place}")
    return sorted(held), [
        at_least("places that may hold patient data and do", len(held), 3),
        at_most("files with canaries elsewhere in the data folder", len(stray), 0),
    ]
