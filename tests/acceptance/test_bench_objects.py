"""The benchmark of objects works: the node and highdicom write the same voxels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.objects import run
from tests.bench.report import Scale

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(120)]


def test_the_segmentations_of_the_benchmark_hold_equal_voxels(tmp_path: Path) -> None:
    # It fails where a reader finds other voxels than were drawn.
    report = run(Scale.QUICK, tmp_path, print)

    assert [len(case.contenders) for case in report.cases] == [3, 2, 4]
    for case in report.cases[:2]:
        sizes = [one.extra("file MB") for one in case.contenders]
        assert all(size is not None and size > 0 for size in sizes)
    (table,) = report.tables
    assert [len(row) for row in table.rows] == [len(table.columns)]
