"""The short form of row 6: broken PDUs, in process and by socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = pytest.mark.acceptance


def test_broken_pdus_end_their_own_association_and_nothing_else(tmp_path: Path) -> None:
    check(ROWS[5].load()(Scale.SHORT, tmp_path, lambda _: None))
