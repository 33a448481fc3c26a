"""The short form of the benchmark of the model: it runs, and answers stay equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.inference import run
from tests.bench.report import Scale

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def test_the_model_is_measured_beside_stock_with_equal_answers(tmp_path: Path) -> None:
    report = run(Scale.QUICK, tmp_path, lambda _: None)

    races = [case for case in report.cases if case.title.startswith("cpu")]
    assert len(races) == 2
    for case in races:
        names = [one.name for one in case.contenders]
        assert names[0].startswith("stock")
        assert names[1:] == ["dicom-node, the model", "dicom-node, its worker"]
    (arithmetic,) = [one for one in report.tables if "cpu: arithmetic" in one.title]
    assert [row[1] for row in arithmetic.rows] == [1, 4, 16]
    assert all(row[3] < 1e-3 and row[5] > 0.99 for row in arithmetic.rows)
    (accuracy,) = [one for one in report.tables if one.title == "cpu: accuracy"]
    boxes, logits, dice = (row[2] for row in accuracy.rows)
    assert boxes < 1e-3
    assert logits < 1e-2
    assert dice == "not asked"
