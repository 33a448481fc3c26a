"""``python -m tests.bench``: run the benchmarks, and write their tables."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from tests.bench.report import Scale
from tests.bench.subjects import SUBJECTS, Subject
from tests.bench.table import RECORDS, render_report, write_page

OUT = Console()
ARTIFACTS = Path("artifacts", "bench")

app = typer.Typer(add_completion=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def _list(context: typer.Context) -> None:
    """Without a command: list the subjects."""
    if context.invoked_subcommand is None:
        for subject in SUBJECTS:
            OUT.print(f"{subject.name:10}  {subject.question}", soft_wrap=True)


@app.command()
def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which; all when none is named.")
    ] = None,
    scale: Annotated[Scale, typer.Option(help="How much of each.")] = Scale.FULL,
    record: Annotated[
        bool, typer.Option(help="Keep the figures for docs/performance.md.")
    ] = False,
) -> None:
    """Run subjects one after the other; print their tables and write them as JSON."""
    unknown = set(names or ()) - {one.name for one in SUBJECTS}
    if unknown:
        raise typer.BadParameter(f"there is no subject {', '.join(sorted(unknown))}")
    for subject in SUBJECTS:
        if not names or subject.name in names:
            _run(subject, scale, RECORDS if record else ARTIFACTS)


@app.command()
def page() -> None:
    """Write the tables and curves of docs/performance.md from the recorded figures."""
    # What draws is needed here only.
    from tests.bench.growth_plots import draw_growth

    for path in (write_page(), *draw_growth()):
        OUT.print(f"wrote {path}")


def _run(subject: Subject, scale: Scale, folder: Path) -> None:
    OUT.rule(f"{subject.question} ({scale})")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        report = subject.load()(scale, Path(work), OUT.log)
    OUT.print(Markdown(render_report(report)))
    path = folder / f"{subject.name}.json"
    report.save(
        path,
        scale=scale,
        commit=_commit(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
    )
    OUT.print(f"wrote {path}")


def _commit() -> str:
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


if __name__ == "__main__":
    app()
