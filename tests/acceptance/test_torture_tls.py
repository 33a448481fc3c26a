"""The short form of row 11: TLS that is stalled, abused and renewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.torture.outcome import Scale, check
from tests.torture.rows import ROWS

pytestmark = [pytest.mark.acceptance, pytest.mark.peers]


def test_tls_serves_whom_it_may_and_renews(tmp_path: Path) -> None:
    require_program("sslscan")
    check(ROWS[10].load()(Scale.SHORT, tmp_path, lambda _: None))
