"""Kill the node anywhere: what it acknowledged is processed and delivered once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.builders.postgres import postgres_cluster
from tests.torture.outcome import Scale, check
from tests.torture.row_01_kill import run, run_on

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(600),
]


def test_nothing_acknowledged_is_lost_by_a_kill_and_nothing_is_done_twice(
    tmp_path: Path,
) -> None:
    require_program("strace")

    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)


def test_nothing_is_lost_by_a_kill_on_postgresql_either(tmp_path: Path) -> None:
    with postgres_cluster() as cluster:
        outcome = run_on(cluster.new_database(), tmp_path, kills=3)

    check(outcome)
