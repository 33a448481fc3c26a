"""The short form of row 13: many associations in one moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = pytest.mark.acceptance


def test_a_burst_is_served_as_far_as_it_fits(tmp_path: Path) -> None:
    check(ROWS[12].load()(Scale.SHORT, tmp_path, lambda _: None))
