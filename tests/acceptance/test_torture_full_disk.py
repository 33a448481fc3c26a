"""Each system call of an instance fails once: nothing is half visible or lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.torture.outcome import Scale, check
from tests.torture.row_03_full_disk import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.peers]


def test_a_call_that_fails_is_refused_and_the_next_try_accepted(tmp_path: Path) -> None:
    require_program("strace")

    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
