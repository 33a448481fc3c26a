"""The benchmark of growth works: every query answers, and a site is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.growth import run
from tests.bench.growth_http import REQUESTS
from tests.bench.growth_queries import QUERIES
from tests.bench.growth_sites import STUDIES_A_YEAR, Mix, UnitCosts, need
from tests.bench.report import Scale

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]


def test_everything_that_grows_is_measured(tmp_path: Path) -> None:
    report = run(Scale.QUICK, tmp_path, print)

    queries, processing, sites, on_server, over_http = report.tables
    for table in (queries, on_server):
        assert [row[0] for row in table.rows] == [one.name for one in QUERIES]
    assert [row[0] for row in over_http.rows] == list(REQUESTS)
    for table in (queries, on_server, over_http):
        assert table.columns[1:3] == ("1,000", "2,000")
    assert [row[1] for row in processing.rows] == ["4, 8", "1, 2"] * 2
    assert [row[0] for row in sites.rows] == [f"{one:,}" for one in STUDIES_A_YEAR]


def test_a_site_needs_what_its_busiest_hour_costs() -> None:
    costs = UnitCosts(
        record_s=0.01,
        study_s=2.0,
        slice_s=0.05,
        model_study_s=0.0,
        model_slice_s=0.1,
        model_cores=2,
        row_bytes=1000.0,
    )
    mix = Mix(
        ct_share=1.0,
        ct_images=100,
        ct_bytes=500_000,
        days_a_year=100,
        peak_hour_share=0.5,
        busy=0.5,
    )

    found = need(36_000, costs, mix)

    # 180 studies in the hour; 8 s of one core and 10 s of two for each; 1800 s at hand.
    assert found.studies_in_peak_hour == 180
    assert found.megabits_a_second == pytest.approx(20)
    assert (found.cores, found.model_cores, found.workers) == (1, 2, 2)
    assert found.disk_tb == pytest.approx(1.8)
    assert found.database_gb == pytest.approx(3.6)
    assert found.database == "PostgreSQL"
