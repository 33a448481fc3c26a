"""Send for a while: nothing is refused and nothing runs away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.row_14_soak import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]


def test_nothing_fails_and_nothing_runs_away_under_load(tmp_path: Path) -> None:
    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
