"""Database trouble: locked, killed, cut off, stopped, and shared by two nodes."""

from __future__ import annotations

from pathlib import Path

from tests.torture.databases import lock_sqlite, trouble_postgres
from tests.torture.outcome import Outcome, Scale, Tell
from tests.torture.standby import take_over

__all__ = ["run"]


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Run the test.

    Parameters
    ----------
    scale : Scale
        SHORT: one of each; else PostgreSQL is killed ten times.
    work : pathlib.Path
        An empty folder.
    tell : callable
        Told how far it is.

    """
    is_short = scale is Scale.SHORT
    figures = () if is_short else lock_sqlite(work / "lock", 30.0, tell=tell)
    figures += trouble_postgres(
        work / "trouble", kills=1 if is_short else 10, tell=tell
    )
    figures += take_over(work / "standby", is_stopped_too=not is_short, tell=tell)
    return Outcome(figures)
