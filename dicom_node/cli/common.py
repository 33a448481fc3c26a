"""What the commands share: options, where they print, and how they fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from dicom_node.private_memory import keep_memory_private

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "ERR",
    "OUT",
    "ConfigOption",
    "PathsArgument",
    "fail",
    "keep_private",
    "progress_bar",
]

_UNBROKEN = 1000
"""Columns of what is no terminal: a UID that `grep` looks for stays whole."""


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBROKEN
    return console


OUT = _console()
"""What was asked for."""

ERR = _console(stderr=True)
"""How it goes, and what went wrong."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file (TOML).", envvar="DICOM_NODE_CONFIG"
    ),
]
PathsArgument = Annotated[
    list[Path], typer.Argument(help="DICOM files or folders.", metavar="PATH...")
]


def keep_private() -> None:
    """Keep what is in the data folder and in memory for the node's own user alone."""
    os.umask(0o077)
    keep_memory_private()


def progress_bar() -> Progress:
    """Make a bar that leaves nothing behind."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=ERR,
        transient=True,
    )


def fail(message: str, code: int, *details: str) -> NoReturn:
    """Say what went wrong and end.

    Parameters
    ----------
    message : str
        What went wrong.
    code : int
        The exit code: 1 something was not done, 2 bad usage or settings.
    *details : str
        One line each.

    """
    ERR.print(f"[red]{'error' if code == 2 else 'incomplete'}:[/] ", end="")
    ERR.print(message, markup=False, soft_wrap=True)
    for detail in details:
        ERR.print(f"  - {detail}", markup=False, soft_wrap=True)
    raise SystemExit(code)
