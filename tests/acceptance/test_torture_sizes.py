"""The short form of row 8: claims and streams without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = pytest.mark.acceptance


def test_what_has_no_end_is_ended_in_a_bounded_memory(tmp_path: Path) -> None:
    check(ROWS[7].load()(Scale.SHORT, tmp_path, lambda _: None))
