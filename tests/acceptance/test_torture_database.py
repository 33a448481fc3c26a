"""PostgreSQL is killed under load, and a node that stands by takes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.row_05_database import run

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(600),
]


def test_nothing_is_lost_or_done_twice_when_the_database_or_the_node_is_gone(
    tmp_path: Path,
) -> None:
    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
