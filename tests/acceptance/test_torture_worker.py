"""A model that dies, hangs or answers nonsense costs its own study and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.row_18_worker import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_models_faults_stay_with_the_study_that_met_them(tmp_path: Path) -> None:
    outcome = run(Scale.SHORT, tmp_path, print)

    check(outcome)
