"""What happened is told, what is committed to is there, results are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.torture.outcome import Scale, check
from tests.torture.row_20_proof import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.peers]


def test_audit_commitment_and_repeated_runs_are_exact(tmp_path: Path) -> None:
    require_program("rsyslogd")

    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
