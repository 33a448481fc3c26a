"""The short form of row 16: duplicates, disorder, late images and reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.outcome import Scale, check
from tests.torture.row_16_disorder import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


@pytest.mark.timeout(600)
def test_each_content_of_a_study_has_one_result_however_it_came(
    tmp_path: Path,
) -> None:
    check(run(Scale.SHORT, tmp_path, print))
