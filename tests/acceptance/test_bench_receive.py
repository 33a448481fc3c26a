"""The benchmark of the receiver works: each contender gets everything it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.receive import run
from tests.bench.report import Scale
from tests.builders.peers import require_program

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
]


def test_every_receiver_of_the_benchmark_gets_what_it_is_sent(tmp_path: Path) -> None:
    require_program("storescp")
    require_program("Orthanc")

    # It fails where an answer is not 0x0000 or a file is missing.
    report = run(Scale.QUICK, tmp_path, print)

    assert len(report.cases) == 7
    assert len(report.cases[0].contenders) == 7
    assert all(len(case.contenders) >= 2 for case in report.cases)
    assert len(report.tables[0].rows) == 3
