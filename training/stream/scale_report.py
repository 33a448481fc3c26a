"""Say in sentences and in a plot what streaming costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["draw_plot", "summary"]


def summary(found: dict[str, Any]) -> Iterator[str]:
    """Yield the report in sentences."""
    size, whole, resume = found["size"], found["pass"], found["resume"]
    yield (
        f"{found['regions']:,} regions in {found['images']:,} records written in "
        f"{found['write_s']:.0f} s: {size['records_mib']:,.0f} MiB, index "
        f"{size['index_mib']:.1f} MiB; that is records written, not a build of pictures"
    )
    yield (
        f"one shuffled pass over all records: {whole['records_per_s']:,.0f} a second "
        f"({whole['records_per_cpu_s']:,.0f} per CPU second), "
        f"memory {whole['rss_mib'][1]:.0f} MiB at 10 %, {whole['rss_mib'][-1]:.0f} MiB "
        f"at the end; labels counted in {found['census_s']:.0f} s"
    )
    for one in found["stream"]:
        yield (
            f"with pictures, {one['workers']} workers: {one['samples_per_s']:.1f} "
            f"samples a second, {one['samples_per_cpu_s']:.1f} per CPU second, "
            f"memory {one['rss_mib'][0]:.0f} MiB at 10 %, "
            f"{one['rss_mib'][1]:.0f} MiB at the end, workers {one['workers_mib']:.0f}"
        )
    stages = ", ".join(f"{k} {v:.1f}" for k, v in found["stages_ms"].items())
    yield f"CPU milliseconds per sample: {stages}; the limit is to {found['limit']}"
    yield (
        f"first batch from the start after {resume['start_s']:.2f} s, from the middle "
        f"after {resume['middle_s']:.2f} s"
    )


def draw_plot(found: dict[str, Any], path: Path) -> None:
    """Draw where the time goes, the rates, and memory over a whole pass."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.2))
    left.barh(list(found["stages_ms"]), list(found["stages_ms"].values()))
    left.invert_yaxis()
    left.set_xlabel("CPU ms per sample")
    rates = {str(one["workers"]): one["samples_per_s"] for one in found["stream"]}
    middle.bar(list(rates), list(rates.values()))
    middle.set_xlabel("workers")
    middle.set_ylabel("samples per second, decoded")
    right.plot(range(0, 101, 10), found["pass"]["rss_mib"], marker="o")
    right.set_ylim(0, 1.2 * max(found["pass"]["rss_mib"]))
    right.set_xlabel(f"% of {found['images']:,} records, shuffled")
    right.set_ylabel("resident memory (MiB)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
