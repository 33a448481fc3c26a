"""The short form of row 10: peers that hold connections open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = pytest.mark.acceptance


def test_slow_peers_are_let_go_and_keep_nobody_waiting(tmp_path: Path) -> None:
    check(ROWS[9].load()(Scale.SHORT, tmp_path, lambda _: None))
