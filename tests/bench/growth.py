"""What everything costs as it grows: instances in the database, slices, phrases."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy

from tests.bench.growth_http import LIMIT, ask_http
from tests.bench.growth_postgres import copied, server_version
from tests.bench.growth_processing import (
    Points,
    fit,
    processing_points,
    processing_table,
)
from tests.bench.growth_queries import QUERIES, opened
from tests.bench.growth_rows import INSTANCES_OF_A_STUDY, fill
from tests.bench.growth_sites import ASSUMED, UnitCosts, sites
from tests.bench.report import Report, Scale, Table, Tell

__all__ = ["GOAL", "HTTP_TITLE", "POSTGRES_TITLE", "QUERY_TITLE", "run"]

GOAL = 3.0
"""How many times as long a hot query may take in the largest database."""

QUERY_TITLE = (
    "What the database is asked, in ms (medians), by the instances that it has"
)

POSTGRES_TITLE = "The same on PostgreSQL, in ms (medians)"
HTTP_TITLE = "What the node answers over HTTP, on SQLite, in ms (medians)"

_SIZES = {Scale.QUICK: (1000, 2000), Scale.FULL: (1000, 10_000, 100_000, 1_000_000)}
_REPEATS = {Scale.QUICK: 1, Scale.FULL: 5}
_REQUESTS = {Scale.QUICK: 1, Scale.FULL: 20}

Times = Mapping[str, Mapping[int, float]]
"""Median seconds of each query, by its name, by the size of the database."""

_HOT = frozenset(one.name for one in QUERIES if one.is_hot)


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Fill databases, ask them in turn, and process studies of several sizes."""
    sizes, repeats = _SIZES[scale], _REPEATS[scale]
    files = {size: _filled(size, work, tell) for size in sizes}
    row_bytes = files[sizes[-1]].stat().st_size / sizes[-1]
    ends = {size: files[size] for size in (sizes[0], sizes[-1])}
    # The copies are made before anything is asked: questions change databases.
    with copied(ends, tell) as urls:
        urls_of_files = {size: f"sqlite:///{path}" for size, path in files.items()}
        times, load = _ask(urls_of_files, repeats, work, tell)
        on_server, server_load = _ask(urls, repeats, work, tell)
        version = server_version(urls[sizes[0]])
    requests = ask_http(ends, _REQUESTS[scale], folder=work, tell=tell)
    http_load = os.getloadavg()[0]
    points = processing_points(scale, work, tell)
    costs = _unit_costs(times, points, row_bytes, largest=sizes[-1])
    return Report(
        tables=(
            _query_table(QUERY_TITLE, times, hot=_HOT),
            processing_table(points),
            sites(costs),
            _query_table(POSTGRES_TITLE, on_server, hot=_HOT),
            _query_table(HTTP_TITLE, requests, hot=frozenset(requests)),
        ),
        notes=(
            f"The databases are SQLite files and asked in turn; each study has "
            f"{INSTANCES_OF_A_STUDY} instances, a report, two results at two "
            "destinations, and its events; ten reports wait for a study at any size.",
            "Those on PostgreSQL are copies of these, row by row, on a server with "
            "its own settings (its commits are durable), after VACUUM and ANALYZE.",
            f"Over HTTP: the application behind its web server on loopback, each "
            f"request on a new connection, {_REQUESTS[scale]} times at each size; "
            f"{LIMIT} studies in a list, so that the smallest database fills it; "
            "without people who sign in and without the files of a study.",
            f"Load of the machine meanwhile: {load:.1f}; on PostgreSQL "
            f"{server_load:.1f}, over HTTP {http_load:.1f}.",
            f"Sites: {100 * ASSUMED.ct_share:.0f} % CT of {ASSUMED.ct_images} images, "
            f"the rest CR of {ASSUMED.cr_images}; {ASSUMED.days_a_year} days a year; "
            f"{100 * ASSUMED.peak_hour_share:.0f} % of a day's studies in its busiest "
            f"hour, in which a core is busy {100 * ASSUMED.busy:.0f} % of the time. No "
            "GPU was measured here.",
        ),
        versions={
            "SQLite": _sqlite_version(),
            "SQLAlchemy": sqlalchemy.__version__,
            "PostgreSQL": version,
        },
    )


def _filled(size: int, work: Path, tell: Tell) -> Path:
    path = work / f"{size}.sqlite"
    began = time.perf_counter()
    fill(f"sqlite:///{path}", instance_count=size)
    tell(f"{size} instances are there: {time.perf_counter() - began:.1f} s")
    return path


def _ask(
    urls: Mapping[int, str], repeats: int, work: Path, tell: Tell
) -> tuple[Times, float]:
    """Ask databases in turn; return the times, and the load meanwhile."""
    sizes = tuple(urls)
    times: dict[str, dict[int, float]] = {}
    loads = []
    with ExitStack() as stack:
        filled = {
            size: stack.enter_context(opened(url, instance_count=size, folder=work))
            for size, url in urls.items()
        }
        for query in QUERIES:
            samples: dict[int, list[float]] = {size: [] for size in sizes}
            for repeat in range(repeats):
                for size in sizes[:: 1 if repeat % 2 == 0 else -1]:
                    samples[size].append(query.timed(filled[size]))
            loads.append(os.getloadavg()[0])
            times[query.name] = {
                size: statistics.median(each) for size, each in samples.items()
            }
            tell(f"{query.name}: {1000 * times[query.name][sizes[-1]]:.1f} ms")
    return times, statistics.median(loads)


def _query_table(title: str, times: Times, *, hot: Set[str]) -> Table:
    rows = []
    sizes = tuple(next(iter(times.values())))
    for name, by_size in times.items():
        ratio = by_size[sizes[-1]] / by_size[sizes[0]]
        verdict = "" if name not in hot else "ok" if ratio <= GOAL else "falls short"
        milliseconds = (round(1000 * by_size[size], 2) for size in sizes)
        rows.append((name, *milliseconds, round(ratio, 2), verdict))
    return Table(
        title,
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
