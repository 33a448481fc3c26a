"""The short form of row 7: broken data sets by every door."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = pytest.mark.acceptance


def test_broken_data_sets_are_refused_or_kept_as_they_are(tmp_path: Path) -> None:
    check(ROWS[6].load()(Scale.SHORT, tmp_path, lambda _: None))
