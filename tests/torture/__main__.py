"""``python -m tests.torture``: run the tests, and write their table."""

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

from tests.torture.outcome import Scale
from tests.torture.rows import ROWS, Row
from tests.torture.table import RECORDS, write_table

OUT = Console()
ARTIFACTS = Path("artifacts", "torture")

app = typer.Typer(add_completion=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def _list(context: typer.Context) -> None:
    """Without a command: list the tests."""
    if context.invoked_subcommand is None:
        for row in ROWS:
            OUT.print(f"{row.number:2d}  {row.title}: it {row.does}", soft_wrap=True)


@app.command()
def run(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Which; all when none is named.")
    ] = None,
    scale: Annotated[Scale, typer.Option(help="How much of each.")] = Scale.FULL,
    record: Annotated[
        bool, typer.Option(help="Keep the figures for docs/reliability.md.")
    ] = False,
) -> None:
    """Run tests one after the other; exit code 1 when a figure falls short."""
    wanted = set(numbers or [row.number for row in ROWS])
    short_of = 0
    for row in ROWS:
        if row.number in wanted:
            short_of += _run(row, scale, RECORDS if record else ARTIFACTS)
    if short_of:
        OUT.print(f"{short_of} figures fall short", style="red")
        raise typer.Exit(1)


@app.command()
def table() -> None:
    """Write the table of docs/reliability.md from the recorded figures."""
    OUT.print(f"wrote {write_table()}")


def _run(row: Row, scale: Scale, folder: Path) -> int:
    OUT.rule(f"{row.number}. {row.title} ({scale})")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as work:
        outcome = row.load()(scale, Path(work), OUT.log)
    seconds = time.monotonic() - began
    for figure in outcome.figures:
        style = {None: "dim", True: "green", False: "red"}[figure.holds]
        OUT.print(f"  {figure}", style=style, soft_wrap=True)
    for name, figures in outcome.anchors.items():
        for figure in figures:
            OUT.print(f"  {name}: {figure}", style="dim", soft_wrap=True)
    for note in outcome.notes:
        OUT.print(f"  note: {note}", soft_wrap=True)
    outcome.save(
        folder / f"{row.name}.json",
        scale=scale,
        commit=_commit(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
    )
    return len(outcome.short_of)


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
