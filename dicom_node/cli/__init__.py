"""The command line: ``dicom-node serve | ground | send | status | ...``.

Exit codes: 0 done; 1 something was not processed, delivered or valid (it says which
and why); 2 bad usage or settings.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from dicom_node import __version__
from dicom_node.audit import configure_logging
from dicom_node.cli import (
    conformance,
    corrections,
    files,
    node,
    privacy,
    reports,
    rules,
    users,
    work,
)
from dicom_node.cli.common import fail
from dicom_node.errors import NodeError, SettingsError

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Ground a study's report phrases in its images, as a DICOM node or on files.",
)
for _group in (node, files, privacy, work):
    app.add_typer(_group.commands)
app.add_typer(conformance.conformance_commands, name="conformance")
app.add_typer(corrections.correction_commands, name="corrections")
app.add_typer(reports.report_commands, name="reports")
app.add_typer(rules.rules_commands, name="rules")
app.add_typer(users.user_commands, name="user")


def main() -> None:
    """Run the command line; settings and usage errors end with exit code 2."""
    # Libraries quote values of data sets when they warn, and tracebacks do.
    warnings.simplefilter("ignore")
    configure_logging(level="WARNING")
    try:
        app()
    except SettingsError as error:
        fail(str(error), 2)
    except NodeError as error:
        fail(str(error), 1)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", is_eager=True),
    ] = False,
) -> None:
    if version:
        typer.echo(f"dicom-node {__version__}")
        raise typer.Exit
