"""The short form of row 15: destinations that are away or cut the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.peers import require_program
from tests.torture.outcome import Scale, check
from tests.torture.row_15_outage import run

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.peers]


@pytest.mark.timeout(1200)
def test_every_result_reaches_a_destination_that_was_away_or_cut_the_line(
    tmp_path: Path,
) -> None:
    require_program("storescp")

    check(run(Scale.SHORT, tmp_path, print))
