"""What is small and becomes large ends no process but its own, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.row_09_bombs import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(600)]


def test_bombs_harm_nothing_but_the_job_that_brought_them(tmp_path: Path) -> None:
    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
