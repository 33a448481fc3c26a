"""What everything costs as it grows: instances in the database, slices, phrases."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy

from tests.bench.growth_processing import (
    Points,
    fit,
    processing_points,
    processing_table,
)
from tests.bench.growth_queries import QUERIES, Query, opened
from tests.bench.growth_rows import INSTANCES_OF_A_STUDY, fill
from tests.bench.growth_sites import ASSUMED, UnitCosts, sites
from tests.bench.report import Report, Scale, Table, Tell

__all__ = ["GOAL", "QUERY_TITLE", "run"]

GOAL = 3.0
"""How many times as long a hot query may take in the largest database."""

QUERY_TITLE = (
    "What the database is asked, in ms (medians), by the instances that it has"
)

_SIZES = {Scale.QUICK: (1000,), Scale.FULL: (1000, 10_000, 100_000, 1_000_000)}
_REPEATS = {Scale.QUICK: 1, Scale.FULL: 5}

Times = Mapping[Query, Mapping[int, float]]
"""Median seconds of each query by the size of the database."""


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Fill databases, ask them in turn, and process studies of several sizes."""
    sizes = _SIZES[scale]
    times, row_bytes, load = _ask(sizes, _REPEATS[scale], work, tell)
    points = processing_points(scale, work, tell)
    costs = _unit_costs(times, points, row_bytes, largest=sizes[-1])
    return Report(
        tables=(
            _query_table(times, sizes),
            processing_table(points),
            sites(costs),
        ),
        notes=(
            f"The databases are SQLite files and asked in turn; each study has "
            f"{INSTANCES_OF_A_STUDY} instances, a report, two results at two "
            "destinations, and its events. The same database on PostgreSQL is shown "
            "to need no whole table by `tests/unit/store/test_query_plans.py`.",
            f"Load of the machine meanwhile: {load:.1f}.",
            f"Sites: {100 * ASSUMED.ct_share:.0f} % CT of {ASSUMED.ct_images} images, "
            f"the rest CR of {ASSUMED.cr_images}; {ASSUMED.days_a_year} days a year; "
            f"{100 * ASSUMED.peak_hour_share:.0f} % of a day's studies in its busiest "
            f"hour, in which a core is busy {100 * ASSUMED.busy:.0f} % of the time. No "
            "GPU was measured here.",
        ),
        versions={"SQLite": _sqlite_version(), "SQLAlchemy": sqlalchemy.__version__},
    )


def _ask(
    sizes: Sequence[int], repeats: int, work: Path, tell: Tell
) -> tuple[Times, float, float]:
    with ExitStack() as stack:
        filled = {}
        row_bytes = 0.0
        for size in sizes:
            path = work / f"{size}.sqlite"
            began = time.perf_counter()
            fill(f"sqlite:///{path}", instance_count=size)
            tell(f"{size} instances are there: {time.perf_counter() - began:.1f} s")
            row_bytes = path.stat().st_size / size
            filled[size] = stack.enter_context(
                opened(f"sqlite:///{path}", instance_count=size, folder=work)
            )
        times: dict[Query, dict[int, float]] = {}
        loads = []
        for query in QUERIES:
            samples: dict[int, list[float]] = {size: [] for size in sizes}
            for repeat in range(repeats):
                for size in sizes[:: 1 if repeat % 2 == 0 else -1]:
                    samples[size].append(query.timed(filled[size]))
            loads.append(os.getloadavg()[0])
            times[query] = {
                size: statistics.median(each) for size, each in samples.items()
            }
            tell(f"{query.name}: {1000 * times[query][sizes[-1]]:.1f} ms")
    return times, row_bytes, statistics.median(loads)


def _query_table(times: Times, sizes: Sequence[int]) -> Table:
    rows = []
    for query, by_size in times.items():
        ratio = by_size[sizes[-1]] / by_size[sizes[0]]
        verdict = "" if not query.is_hot else "ok" if ratio <= GOAL else "falls short"
        milliseconds = (round(1000 * by_size[size], 2) for size in sizes)
        rows.append((query.name, *milliseconds, round(ratio, 2), verdict))
    return Table(
        QUERY_TITLE,
        ("", *(f"{size:,}" for size in sizes), "ratio", f"asked: {GOAL:g}"),
        tuple(rows),
    )


def _unit_costs(
    times: Times, points: Sequence[Points], row_bytes: float, *, largest: int
) -> UnitCosts:
    record = next(iter(times.values()))[largest]
    slices, model = fit(points[0]), fit(points[2])
    return UnitCosts(
        record_s=record,
        study_s=max(slices.fixed_s, 0.0),
        slice_s=max(slices.each_s, 0.0),
        model_study_s=max(model.fixed_s, 0.0),
        model_slice_s=max(model.each_s, 0.0),
        model_cores=len(os.sched_getaffinity(0)),
        row_bytes=row_bytes,
    )


def _sqlite_version() -> str:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        return str(connection.scalar(sqlalchemy.text("SELECT sqlite_version()")))
