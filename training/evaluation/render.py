"""Write a report as Markdown: what n is, what each number means, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.evaluation.aggregate import MetricValue
from training.evaluation.metrics import METRICS
from training.evaluation.report import Report, SpoiledResult
from training.evaluation.rows import PhraseRow
from training.evaluation.tables import table

__all__ = ["FEW_PATIENTS", "metric_table", "render_report"]

FEW_PATIENTS = 10
"""Below so many patients a report shows every phrase and calls no mean an accuracy."""

_MOST_CLASSES = 60
"""Classes that the table of a report lists; the JSON has all."""

_FEW_ROWS = 400
"""Phrases that the per-phrase table of a small report lists; the JSON has all."""


def render_report(report: Report, *, plots: Sequence[str] = ()) -> str:
    """Return the report as Markdown.

    Parameters
    ----------
    plots
        Names of picture files beside it, as `training.evaluation.plots.draw_plots`
        returns them.
    """
    parts = [_head(report), _counts(report), "## Metrics", metric_table(report.metrics)]
    for name, group in report.groups.items():
        parts += [f"### {name}", metric_table(group, defined=False)]
    parts += [_classes(report)]
    if report.spoiled:
        parts += [_robustness(report.spoiled)]
    if report.patients < FEW_PATIENTS:
        parts += ["## Every phrase", _phrases(report.rows)]
    if plots:
        parts += ["## Plots", *(f"![{_caption(plot)}]({plot})" for plot in plots)]
    return "\n\n".join(part for part in parts if part) + "\n"


def metric_table(metrics: Sequence[MetricValue], *, defined: bool = True) -> str:
    """Return name, value, interval and n of each metric, and what it means."""
    if not metrics:
        return "No metric applies."
    head = ["metric", "value", "95 % interval", "n", "better"]
    rows: list[list[Any]] = []
    for metric in metrics:
        bounds = metric.interval
        row: list[Any] = [
            metric.name,
            metric.value,
            f"{bounds.low:.3f} to {bounds.high:.3f}" if bounds else "-",
            f"{metric.n} {metric.unit}, {_people(metric.patients)}",
            METRICS[metric.name].better,
        ]
        if defined:
            definition = METRICS[metric.name]
            source = f" ({definition.reference})" if definition.reference else ""
            row.append(definition.sentence + source)
        rows.append(row)
    return table([*head, "definition"] if defined else head, rows)


def _head(report: Report) -> str:
    model = report.model
    protocol = f" Protocol: `{report.preset}`." if report.preset else ""
    return (
        f"# {report.title}\n\nModel {model['name']}, version {model['version']}, "
        f"SHA-256 `{model['sha256']}`.{protocol}"
    )


def _counts(report: Report) -> str:
    """Say what n is, and what it allows to say."""
    present = sum(row.is_present for row in report.rows)
    datasets = sorted({row.dataset for row in report.rows})
    cases = "1 case" if len(report.cases) == 1 else f"{len(report.cases)} cases"
    lines = [
        f"{cases} of {_people(report.patients)}: {present} present "
        f"and {len(report.rows) - present} absent phrases, of {', '.join(datasets)}."
    ]
    if report.patients < 2:
        lines.append(
            "All of it is one patient. This is one observation: no interval can be "
            "given, and no mean below says what another patient would give."
        )
    elif report.patients < FEW_PATIENTS:
        lines.append(
            f"{report.patients} patients are few: read the rows of every phrase "
            "below, and the intervals as a lower bound of the doubt."
        )
    else:
        lines.append(
            "Intervals are percentiles of 500 resamples of the patients, not of the "
            "phrases."
        )
    lines += [f"- {note}" for note in report.notes]
    return "\n\n".join(lines[:2]) + ("\n\n" + "\n".join(lines[2:]) if lines[2:] else "")


def _classes(report: Report) -> str:
    head = (
        "class",
        "present",
        "absent",
        "patients",
        "overlap",
        "called present",
        "called absent",
    )
    names = list(report.categories)[:_MOST_CLASSES]
    rows = []
    for name in names:
        entry = report.categories[name]
        counts = [round(entry[key]) for key in ("present", "absent", "patients")]
        shares = [entry.get(key) for key in head[4:]]
        rows.append([name, *counts, *shares])
    left = len(report.categories) - len(names)
    more = f"\n\n{left} more classes are in `results.json`." if left else ""
    return (
        "## Classes\n\nOverlap is the mean Dice of the present phrases (IoU of the top "
        f"box where only boxes are known).\n\n{table(head, rows)}{more}"
    )


def _robustness(spoiled: Sequence[SpoiledResult]) -> str:
    rows = [
        (
            result.modality,
            result.corruption,
            result.severity,
            result.spoiled,
            f"{result.delta:+.3f}",
            f"{result.interval.low:+.3f} to {result.interval.high:+.3f}"
            if result.interval
            else None,
            result.relative_error,
            f"{result.n} phrases, {_people(result.patients)}",
        )
        for result in spoiled
    ]
    head = (
        "modality",
        "corruption",
        "severity",
        "overlap",
        "delta",
        "95 % interval",
        "relative error",
        "n",
    )
    return (
        "## Spoiled pictures\n\nThe same present phrases asked again about spoiled "
        "pictures. Delta is the change of the mean overlap (Dice; IoU of the top box "
        "where only boxes are known); relative error is (1 - spoiled) / (1 - clean)."
        f"\n\n{table(head, rows)}"
    )


def _phrases(rows: Sequence[PhraseRow]) -> str:
    head = (
        "case",
        "phrase",
        "present",
        "called present",
        "score",
        "uncertainty",
        "Dice",
        "NSD",
        "top-box IoU",
        "volume ml",
    )
    lines = [
        (
            row.case,
            row.phrase,
            row.is_present,
            row.says_present,
            row.score,
            row.uncertainty,
            row.dice,
            row.nsd,
            row.top_iou,
            row.volume_ml,
        )
        for row in rows[:_FEW_ROWS]
    ]
    left = len(rows) - len(lines)
    more = f"\n\n{left} more phrases are in `results.json`." if left else ""
    return table(head, lines) + more


def _people(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


def _caption(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".png").replace("-", " ")
