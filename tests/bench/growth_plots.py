"""The curves of ``docs/performance.md``, drawn from the figures that were recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.growth import QUERY_TITLE
from tests.bench.report import Report, Table
from tests.bench.table import RECORDS

__all__ = ["IMAGES", "draw_growth"]

IMAGES = RECORDS.parent / "images"
"""Where the pictures of the documentation lie."""

_QUERIES = "growth-queries.svg"
_STUDIES = "growth-studies.svg"
_SHOWN = (
    "an instance is recorded",
    "a version is opened",
    "page: newest studies",
    "page: a study",
    "metrics",
    "QIDO-RS: PatientID",
    "QIDO-RS: StudyDate, one day of the past",
    "retention: nothing is old enough",
    "page: reports that wait for their study",
    "QIDO-RS: ModalitiesInStudy, one that no study has",
)
"""Curves of the first picture; all are in the table beside it."""


def draw_growth() -> tuple[Path, ...]:
    """Draw the recorded figures of growth; nothing where none were recorded.

    Returns
    -------
    tuple of pathlib.Path
        The pictures, as SVG; the same figures make the same bytes.

    """
    path = RECORDS / "growth.json"
    if not path.exists():
        return ()
    tables = Report.read(json.loads(path.read_text(encoding="utf-8"))).tables
    queries, studies = tables[0], tables[1]
    assert queries.title == QUERY_TITLE
    import matplotlib as mpl

    mpl.use("svg")
    # Neither the moment nor chance is in the file.
    with mpl.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        return _draw_queries(queries), _draw_studies(studies)


def _draw_queries(table: Table) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    sizes = [int(one.replace(",", "")) for one in table.columns[1:-2]]
    for row in table.rows:
        if row[0] in _SHOWN:
            axes.loglog(sizes, [float(one) for one in row[1:-2]], "o-", label=row[0])
    axes.set(xlabel="instances in the database", ylabel="ms (median)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return _save(figure, _QUERIES)


def _draw_studies(table: Table) -> Path:
    from matplotlib import pyplot as plt

    figure, every = plt.subplots(1, len(table.rows), figsize=(12, 3.2))
    figure.set_layout_engine("constrained")
    for axes, row in zip(every, table.rows, strict=True):
        values, seconds = _numbers(row[1]), _numbers(row[2])
        fixed, _, each = str(row[3]).partition(" + ")
        slope = float(each.split()[0]) / 1000
        axes.plot(values, seconds, "o")
        ends = (0.0, max(values))
        axes.plot(ends, [float(fixed) + slope * one for one in ends], "-")
        axes.set(xlabel=row[0], ylabel="s", title=row[3])
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        axes.title.set_fontsize("small")
    return _save(figure, _STUDIES)


def _save(figure: Any, name: str) -> Path:
    from matplotlib import pyplot as plt

    path = IMAGES / name
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _numbers(text: object) -> Sequence[float]:
    return [float(one) for one in str(text).split(",")]
