"""Lay a paper's table beside ours."""

from __future__ import annotations

from training.evaluation.metrics import METRICS
from training.evaluation.presets import Preset
from training.evaluation.report import Report
from training.evaluation.tables import table

__all__ = ["render_comparison"]


def render_comparison(preset: Preset, report: Report) -> str:
    """Return the published rows and our own, with what must be known to compare them.

    A figure that a source does not give stays a dash.
    """
    ours = {metric.name: metric for metric in report.metrics}
    names = preset.compared or tuple(n for n in preset.metrics if n in ours)[:5]
    rows: list[list[object]] = [
        [row.system, *(row.values.get(name) for name in names), row.source]
        for row in preset.published
    ]
    mine: list[object] = [f"**{report.model['name']} {report.model['version']}**"]
    for name in names:
        metric = ours.get(name)
        if metric is None:
            mine.append(None)
        elif metric.interval is None:
            mine.append(metric.value)
        else:
            bounds = f"{metric.interval.low:.3f} to {metric.interval.high:.3f}"
            mine.append(f"{metric.value:.3f} ({bounds})")
    mine.append(
        f"this run: {len(report.cases)} cases, {report.patients} patients, "
        f"{len(report.rows)} phrases"
    )
    published = (
        "Figures of others are as read at the named source; ours have 95 % intervals."
        if preset.published
        else "No published figure could be verified, so none is shown."
    )
    definitions = "\n".join(f"- {name}: {METRICS[name].sentence}" for name in names)
    return (
        f"## {preset.title}\n\n{preset.protocol} {published}\n\n"
        f"{table(['system', *names, 'source'], [*rows, mine])}\n\n{definitions}"
    )
