"""Nothing of a patient leaves where it belongs, and the pages are safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.ohif import VIEWERS
from tests.builders.peers import cannot_run, require_program
from tests.torture.outcome import Scale, check
from tests.torture.row_19_privacy import run

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.slow]


@pytest.mark.filterwarnings("ignore:The (value length|number of PN):UserWarning")
def test_no_trace_of_a_patient_and_no_way_into_the_pages(tmp_path: Path) -> None:
    require_program("chromium")
    require_program("node")
    if not (VIEWERS / "node_modules" / "playwright-core").is_dir():
        cannot_run("run tests/viewers/install.sh first")

    check(run(Scale.SHORT, tmp_path, print))
