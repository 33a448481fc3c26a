"""The short form of row 12: callers that are not who they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = pytest.mark.acceptance


def test_who_may_not_call_is_refused_and_told_of(tmp_path: Path) -> None:
    check(ROWS[11].load()(Scale.SHORT, tmp_path, lambda _: None))
