"""``dicom-node ground | send``: what is done with files, without a node."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.common import OUT, ConfigOption, PathsArgument, fail, progress_bar
from dicom_node.config import check_ae_title, load_settings
from dicom_node.errors import ReportError

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def ground(
    paths: PathsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    phrase: Annotated[
        list[str] | None,
        typer.Option("--phrase", "-p", help="A phrase to ground; repeat."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Report text (UTF-8) instead of the study's own."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Ground phrases on files, as the node does, without a network."""
    from dicom_node.commands.file_mode import ground_files
    from dicom_node.commands.result_table import result_table
    from dicom_node.reports import phrase_from_text, read_report_text

    for path in paths:
        if not path.exists():
            fail(f"{path}: no such file or folder", 2)
    try:
        for one in phrase or ():
            phrase_from_text(one)
    except ReportError as error:
        fail(f"--phrase: {error}", 2)
    if phrase and report is not None:
        fail("--phrase and --report: phrases are asked in the place of a report", 2)
    try:
        text = None if report is None else read_report_text(report)
    except ReportError as error:
        fail(f"--report {report}: {error}", 2)
    with progress_bar() as bar:
        task = bar.add_task("ground", total=None)
        outcome = ground_files(
            paths,
            out_dir=out,
            settings=load_settings(config),
            phrases=tuple(phrase or ()),
            report_text=text,
            progress=lambda name, done, total: bar.update(
                task, description=name, completed=done, total=total
            ),
        )
    for path in outcome.documents:
        OUT.print(result_table(json.loads(path.read_text(encoding="utf-8"))))
        OUT.print(str(path), soft_wrap=True)
    if outcome.reasons or not outcome.documents:
        what = "not processed:" if outcome.documents else "no study was processed:"
        fail(what, 1, *outcome.reasons)


@commands.command()
def send(
    paths: PathsArgument,
    to: Annotated[str, typer.Option(help="Destination.", metavar="AET@HOST:PORT")],
    from_: Annotated[
        str, typer.Option("--from", help="Calling AE title.", metavar="AET")
    ] = "GROUNDING",
) -> None:
    """Send DICOM files by C-STORE, exactly as they are."""
    from dicom_node.commands.study_files import list_files
    from dicom_node.deliver import parse_destination, send_objects

    try:
        files = list_files(paths)
        destination = parse_destination(to)
        calling = check_ae_title(from_)
    except (FileNotFoundError, ValueError) as error:
        fail(str(error), 2)
    outcomes = send_objects(files, destination, ae_title=calling)
    failed = [one for one in outcomes if not one.is_delivered]
    OUT.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} sent to {to}")
    if failed:
        by_reason = Counter(one.reason for one in failed)
        fail("not sent:", 1, *(f"{count} x {why}" for why, count in by_reason.items()))
