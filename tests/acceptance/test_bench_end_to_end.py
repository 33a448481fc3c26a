"""The benchmark from end to end works: each study it sends comes back as results."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import timedelta
from pathlib import Path

import pytest

from tests.bench.end_to_end import run
from tests.bench.report import Scale
from tests.bench.timeline_picture import draw_timelines
from tests.builders.peers import require_program
from tests.builders.stores import NOON
from tests.unit.node.test_timeline import WHOLE


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.timeout(300)
def test_every_study_of_the_benchmark_comes_back_as_results(tmp_path: Path) -> None:
    require_program("storescp")

    # It fails where an image is refused, a study fails, or a result is not taken.
    report = run(Scale.QUICK, tmp_path, print)

    (started,) = report.cases
    assert len(started.contenders) == 2
    idle, stages, met, crowd, memory = report.tables
    assert {row[0] for row in idle.rows} == {"the node", "the model", "together"}
    told = {str(row[0]) for row in stages.rows}
    assert {"quiet time", "processing: inference", "to pacs: sending"} <= told
    assert [row[0] for row in met.rows] == ["two lanes"]
    assert "3 studies" in crowd.title
    assert len(crowd.rows) == 3
    assert memory.rows[-1][0] == "100%"


def test_the_picture_of_a_timeline_has_a_bar_for_each_span(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"

    draw_timelines([WHOLE], path)

    drawing = ET.fromstring(path.read_text(encoding="utf-8"))
    name = "{http://www.w3.org/2000/svg}"
    words = [one.text for one in drawing.iter(f"{name}text")]
    assert len(list(drawing.iter(f"{name}rect"))) == 9
    assert "to pacs: commitment" in words
    assert f"{timedelta(seconds=10).total_seconds():.2f} s" in words
    assert NOON.isoformat() not in path.read_text(encoding="utf-8")
