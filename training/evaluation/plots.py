"""Draw what a report says: curves, bars and the worst cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import ReliabilityBin
from training.evaluation.report import Report, SpoiledResult, WorstAnswer

__all__ = ["draw_plots"]

_MOST_BARS = 40
"""Classes in the bar chart: those with most phrases."""


def draw_plots(report: Report, folder: Path) -> list[str]:
    """Draw every plot that the report has data for; return their names, in order.

    Files are PNG without date or software, so that equal reports give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = report.curves
    drawn: list[str] = []

    def save(figure: Any, name: str) -> None:
        figure.savefig(folder / name, dpi=100, metadata={"Software": None})
        drawn.append(name)

    if curves.recall:
        save(_precision_recall(report), "precision-recall.png")
    pairs = [
        (bins, axis, share)
        for bins, axis, share in (
            (curves.reliability_presence, "presence score", "share present"),
            (curves.reliability_place, "1 - uncertainty", "share placed (IoU >= 0.5)"),
        )
        if bins
    ]
    if pairs:
        save(_reliability(pairs), "reliability.png")
    if any("overlap" in entry for entry in report.categories.values()):
        save(_bars(report), "classes.png")
    if len(curves.coverage) > 1:
        save(_risk(report), "risk-coverage.png")
    if report.spoiled:
        save(_spoiled(report.spoiled), "corruptions.png")
    if report.worst:
        save(_worst(report.worst), "worst-cases.png")
    return drawn


def _figure(columns: int = 1, rows: int = 1, *, size: tuple[float, float]) -> Any:
    """Return a figure and its axes, drawn without a display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _precision_recall(report: Report) -> Any:
    figure, axes = _figure(size=(5, 4))
    axis = axes[0, 0]
    axis.plot(report.curves.recall, report.curves.precision, drawstyle="steps-pre")
    axis.set(
        xlabel="recall",
        ylabel="precision at IoU 0.5",
        xlim=(0, 1),
        ylim=(0, 1.02),
        title="Mean over classes",
    )
    axis.grid(alpha=0.3)
    return figure


def _reliability(
    pairs: Sequence[tuple[Sequence[ReliabilityBin], str, str]],
) -> Any:
    figure, axes = _figure(columns=len(pairs), size=(4.2 * len(pairs), 4))
    for axis, (bins, confidence, share) in zip(axes[0], pairs, strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        axis.plot([b.confidence for b in bins], [b.accuracy for b in bins], marker="o")
        for b in bins:
            axis.annotate(
                str(b.count),
                (b.confidence, b.accuracy),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        axis.set(xlabel=confidence, ylabel=share, xlim=(0, 1), ylim=(-0.03, 1.08))
        axis.grid(alpha=0.3)
    figure.suptitle("Numbers are phrases per bin", fontsize=9)
    return figure


def _bars(report: Report) -> Any:
    names = [n for n, entry in report.categories.items() if "overlap" in entry]
    names = names[:_MOST_BARS]
    values = [report.categories[name]["overlap"] for name in names]
    order = np.argsort(values)
    figure, axes = _figure(size=(6.5, 0.8 + 0.19 * len(names)))
    axis = axes[0, 0]
    axis.barh(range(len(names)), [values[i] for i in order])
    labels = [
        f"{names[i][:40]} ({report.categories[names[i]]['present']:.0f})" for i in order
    ]
    axis.set_yticks(range(len(names)), labels, fontsize=7)
    axis.set(xlabel="mean overlap of the present phrases (count)", xlim=(0, 1))
    axis.grid(alpha=0.3, axis="x")
    return figure


def _risk(report: Report) -> Any:
    figure, axes = _figure(size=(5, 4))
    axis = axes[0, 0]
    axis.plot(report.curves.coverage, report.curves.risk)
    axis.set(
        xlabel="coverage: share of answers kept, least uncertain first",
        ylabel="mean error of what is kept",
        xlim=(0, 1),
    )
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    return figure


def _spoiled(results: Sequence[SpoiledResult]) -> Any:
    by_modality: dict[str, dict[str, list[SpoiledResult]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for result in results:
        by_modality[result.modality][result.corruption].append(result)
    figure, axes = _figure(columns=len(by_modality), size=(6.5 * len(by_modality), 4.2))
    for axis, (modality, lines) in zip(axes[0], by_modality.items(), strict=True):
        for number, (name, points) in enumerate(lines.items()):
            points = sorted(points, key=lambda point: point.severity)
            axis.plot(
                [0, *(point.severity for point in points)],
                [points[0].clean, *(point.spoiled for point in points)],
                marker=("o", "s", "^", "v")[number // 10 % 4],
                label=name,
            )
        axis.set(xlabel="severity", ylabel="mean overlap", title=modality, ylim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _worst(cases: Sequence[WorstAnswer]) -> Any:
    from matplotlib.patches import Rectangle

    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure, axes = _figure(columns, rows, size=(3.2 * columns, 3.5 * rows))
    for axis in axes.ravel():
        axis.axis("off")
    for axis, case in zip(axes.ravel(), cases, strict=False):
        axis.imshow(case.plane, cmap="gray" if case.plane.ndim == 2 else None)
        if case.truth is not None:
            _outline(axis, case.truth, "#2ca02c")
        else:
            for left, top, right, bottom in case.boxes:
                corner = (left - 0.5, top - 0.5)  # pixel (0, 0) is drawn around 0
                size = (right - left, bottom - top)
                axis.add_patch(Rectangle(corner, *size, fill=False, ec="#2ca02c"))
        _outline(axis, case.found, "#ff7f0e")
        axis.set_title(_caption(case), fontsize=7)
    figure.suptitle("green: true, orange: found", fontsize=9)
    return figure


def _outline(axis: Any, mask: NDArray[np.bool_], colour: str) -> None:
    """Draw the edge of a mask that has one, at the picture's border, too."""
    if mask.any():
        padded = np.pad(mask, 1).astype(np.float64)
        rows, columns = (np.arange(-1, size + 1) for size in mask.shape)
        axis.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=1)


def _caption(case: WorstAnswer) -> str:
    row = case.row
    phrase = row.phrase if len(row.phrase) <= 44 else row.phrase[:43] + "..."
    # Dollar signs would start a formula in a title.
    phrase = phrase.replace("$", r"\$")
    if not row.is_present:
        return f"{phrase}\nnot there, score {row.score:.2f}"
    measure = "top-box IoU" if row.dice is None else "Dice"
    return (
        f"{phrase}\n{measure} {1 - (row.error or 0):.2f}, score {row.score:.2f}, "
        f"slice {case.slice_index}"
    )
