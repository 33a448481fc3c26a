"""The benchmark of workers works: each study becomes what it should, wherever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.report import Scale
from tests.bench.scale_out import run

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.peers,
    pytest.mark.timeout(300),
]


def test_the_workers_of_the_benchmark_do_every_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION")
    for name in names:
        monkeypatch.setenv(f"AWS_{name}", "")  # put back at the end

    # It fails where a study is not processed into what it should become.
    report = run(Scale.QUICK, tmp_path, print)

    assert [len(case.contenders) for case in report.cases] == [2, 3]
