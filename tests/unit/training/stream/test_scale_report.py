from __future__ import annotations

import json
from pathlib import Path

from training.stream.scale_report import summary

REPORT = Path(__file__).parents[4] / "docs" / "evaluation" / "scale.json"


def test_the_report_says_that_records_were_written_and_nothing_was_built() -> None:
    found = json.loads(REPORT.read_text(encoding="utf-8"))

    first = next(summary(found))

    assert f"records written in {found['write_s']:.0f} s" in first
    assert "not a build of pictures" in first
    assert not any(name.startswith("build") for name in found)
