"""The disk fails, becomes read-only, and no descriptors are left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.torture.outcome import Scale, check
from tests.torture.row_04_disk_errors import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.peers]


def test_a_failing_disk_is_told_and_got_over(tmp_path: Path) -> None:
    require_program("strace")

    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
