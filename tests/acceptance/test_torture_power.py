"""Cut the power under the node: what it acknowledged is there when it comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.row_02_power import run

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(600),
]


def test_nothing_acknowledged_is_lost_by_a_power_cut(tmp_path: Path) -> None:
    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
