"""The command line: ``dicom-node serve | ground | send | status | ...``.

Exit codes: 0 done; 1 something was not processed, delivered or valid (it says which
and why); 2 bad usage or settings.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dicom_node import __version__
from dicom_node.audit import configure_logging
from dicom_node.config import check_ae_title, load_settings
from dicom_node.errors import NodeError, ReportError, SettingsError
from dicom_node.user_commands import users_app

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Ground a study's report phrases in its images, as a DICOM node or on files.",
)
conformance_app = typer.Typer(
    no_args_is_help=True, help="What the node claims over DICOM; judge SEG and SR."
)
app.add_typer(conformance_app, name="conformance")
rules_app = typer.Typer(no_args_is_help=True, help="Which studies are processed.")
app.add_typer(rules_app, name="rules")
app.add_typer(users_app, name="user")

_out = Console()
_err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file (TOML).", envvar="DICOM_NODE_CONFIG"
    ),
]
PathsArgument = Annotated[
    list[Path], typer.Argument(help="DICOM files or folders.", metavar="PATH...")
]


def main() -> None:
    """Run the command line; settings and usage errors end with exit code 2."""
    # Libraries quote values of data sets when they warn, and tracebacks do.
    warnings.simplefilter("ignore")
    configure_logging(level="WARNING")
    try:
        app()
    except SettingsError as error:
        _fail(str(error), 2)
    except NodeError as error:
        _fail(str(error), 1)


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the node: receive studies, ground their phrases, send results."""
    from dicom_node.service import NodeService

    _keep_private()
    NodeService(load_settings(config)).run_forever()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to leave the results.")] = Path(
        "demo-out"
    ),
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--no-stay",
            help="Keep the page open until Ctrl-C; by default in a terminal only.",
        ),
    ] = None,
) -> None:
    """Send a real CT with its report to a node of its own and show what returns."""
    from dicom_node.demo import run_demo

    stays = sys.stdin.isatty() if stay is None else stay
    raise typer.Exit(run_demo(out, console=_out, stay=stays))


@app.command()
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
    from dicom_node.file_mode import ground_files
    from dicom_node.reports import phrase_from_text, read_report_text
    from dicom_node.result_table import result_table

    for path in paths:
        if not path.exists():
            _fail(f"{path}: no such file or folder", 2)
    try:
        for one in phrase or ():
            phrase_from_text(one)
    except ReportError as error:
        _fail(f"--phrase: {error}", 2)
    try:
        text = None if report is None else read_report_text(report)
    except ReportError as error:
        _fail(f"--report {report}: {error}", 2)
    with _progress() as bar:
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
        _out.print(result_table(json.loads(path.read_text(encoding="utf-8"))))
        _out.print(str(path), soft_wrap=True)
    if outcome.reasons or not outcome.documents:
        what = "not processed:" if outcome.documents else "no study was processed:"
        _fail(what, 1, *outcome.reasons)


@app.command()
def send(
    paths: PathsArgument,
    to: Annotated[str, typer.Option(help="Destination.", metavar="AET@HOST:PORT")],
    from_: Annotated[
        str, typer.Option("--from", help="Calling AE title.", metavar="AET")
    ] = "GROUNDING",
) -> None:
    """Send DICOM files by C-STORE, exactly as they are."""
    from dicom_node.deliver import parse_destination, send_objects
    from dicom_node.study_files import list_files

    try:
        files = list_files(paths)
        destination = parse_destination(to)
        calling = check_ae_title(from_)
    except (FileNotFoundError, ValueError) as error:
        _fail(str(error), 2)
    outcomes = send_objects(files, destination, ae_title=calling)
    failed = [one for one in outcomes if not one.is_delivered]
    _out.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} sent to {to}")
    if failed:
        by_reason = Counter(one.reason for one in failed)
        _fail("not sent:", 1, *(f"{count} x {why}" for why, count in by_reason.items()))


@app.command()
def status(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the node has received, processed and delivered."""
    from dicom_node.status import read_status, status_tables

    snapshot = read_status(load_settings(config))
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
        return
    for table in status_tables(snapshot):
        _out.print(table)


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="The report, plain text.")],
    study: Annotated[
        str | None, typer.Option(help="Study Instance UID that it is about.")
    ] = None,
    accession: Annotated[
        str | None, typer.Option(help="Accession number that it is about.")
    ] = None,
    how_far: Annotated[
        str,
        typer.Option(
            "--status", help="preliminary, final, corrected or cancelled (withdrawn)."
        ),
    ] = "final",
    config: ConfigOption = None,
) -> None:
    """Give the node a report; another one for the same study replaces it."""
    from datetime import UTC, datetime

    from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
    from dicom_node.reports import read_report_text
    from dicom_node.status import hand_in_report

    if how_far not in set(ReportStatus):
        raise typer.BadParameter("it is none of a report", param_hint="--status")
    incoming = IncomingReport(
        text=read_report_text(file),
        channel=ReportChannel.REST,
        status=ReportStatus(how_far),
        identifier="",
        sender="command line",
        received_at=datetime.now(UTC),
        study_instance_uid=study,
        accession_number=accession,
    )
    _out.print(hand_in_report(load_settings(config), incoming))


@app.command()
def requeue(
    study: Annotated[str, typer.Argument(help="Study Instance UID.", metavar="STUDY")],
    config: ConfigOption = None,
) -> None:
    """Process a study again, or try its undelivered results at once."""
    from dicom_node.status import requeue_study

    _out.print(requeue_study(load_settings(config), study))


@app.command()
def pause(config: ConfigOption = None) -> None:
    """Process nothing more until `resume`; receiving and delivering go on."""
    from dicom_node.operate import set_paused

    set_paused(load_settings(config), True)
    _out.print("paused: studies are received and wait; results are still delivered")


@app.command()
def resume(config: ConfigOption = None) -> None:
    """Go on after `pause` or `drain`."""
    from dicom_node.operate import set_draining, set_paused

    settings = load_settings(config)
    set_paused(settings, False)
    set_draining(settings, False)
    _out.print("resumed")


@app.command()
def drain(
    config: ConfigOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when nothing is left to do.")
    ] = False,
) -> None:
    """Accept no new association and finish what is here, to stop without loss."""
    from dicom_node.operate import read_remaining, set_draining

    settings = load_settings(config)
    set_draining(settings, True)
    left = read_remaining(settings)
    with _err.status("draining") as told:
        while wait and not left.is_empty:
            told.update(
                f"draining: {left.collecting} studies collect, {left.queued} wait for "
                f"the worker, {left.undelivered} results are undelivered"
            )
            time.sleep(1.0)
            left = read_remaining(settings)
    if left.is_empty:
        _out.print("nothing is left to do: the node can be stopped")
        return
    _out.print(
        f"draining: {left.collecting} studies collect, {left.queued} wait for the "
        f"worker, {left.undelivered} results are undelivered",
        soft_wrap=True,
    )


@rules_app.command("test")
def rules_test(paths: PathsArgument, config: ConfigOption = None) -> None:
    """Say which rule fits files, each taken as the first image of a series."""
    from dicom_node.rules import try_rules
    from dicom_node.study_files import list_files

    settings = load_settings(config)
    try:
        files = list_files(paths)
    except FileNotFoundError as error:
        _fail(str(error), 2)
    trial = try_rules(files, settings.rules)
    for step in trial.steps:
        mark = "[green]fits[/]" if step.is_match else "[dim]no[/]"
        why = f"  ({step.trouble})" if step.trouble else ""
        _out.print(f"{mark:>18}  {step.rule}{why}", soft_wrap=True)
        _out.print(f"          {step.when}", soft_wrap=True, markup=False)
    made = trial.decision
    if not made.is_processed:
        _out.print(f"not processed: rule {made.rule}")
        return
    hours = ", in off-peak hours" if made.is_off_peak else ""
    _out.print(
        f"processed by {made.model or 'the default model'}, {made.priority}{hours}: "
        + (f"rule {made.rule}" if made.rule else "no rule fits")
    )


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Check the set-up, echo every destination, say what is wrong in plain words."""
    from dicom_node.doctor import examine

    _keep_private()
    findings = examine(load_settings(config))
    for one in findings:
        mark = "[green]ok[/]" if one.is_good else "[red]problem[/]"
        _out.print(f"{mark:>18}  {one.text}", soft_wrap=True)
    if not all(one.is_good for one in findings):
        raise typer.Exit(1)


@app.command()
def settings() -> None:
    """Print every setting, its default and its meaning, as Markdown."""
    from dicom_node.settings_page import render_settings

    typer.echo(render_settings(), nl=False)


@conformance_app.command("statement")
def conformance_statement() -> None:
    """Print the DICOM conformance statement (PS3.2 Annex N), as Markdown."""
    from conformance.statement import render_statement

    typer.echo(render_statement(), nl=False)


@conformance_app.command("check")
def conformance_check(paths: PathsArgument) -> None:
    """Judge SEG and SR files by our rules, and by dciodvfy where installed.

    In a folder, other files are passed over.
    """
    from conformance.validators import is_judged, judge_file
    from dicom_node.study_files import list_files

    try:
        files = list_files(paths)
    except FileNotFoundError as error:
        _fail(str(error), 2)
    bad = 0
    for path in files:
        # In a folder there may be images and pictures beside the objects.
        if path not in paths and not is_judged(path):
            continue
        judgement = judge_file(path)
        bad += not judgement.is_valid
        verdict = "[green]valid[/]" if judgement.is_valid else "[red]invalid[/]"
        _out.print(
            f"{path.name}: {verdict} ({', '.join(judgement.judges)})", soft_wrap=True
        )
        for violation in judgement.violations:
            _out.print(f"    {violation}", soft_wrap=True, markup=False)
    if bad:
        raise typer.Exit(1)


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


def _keep_private() -> None:
    # What lies in the data folder is for the node's own user alone.
    os.umask(0o077)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=_err,
        transient=True,
    )


def _fail(message: str, code: int, *details: str) -> NoReturn:
    _err.print(f"[red]{'error' if code == 2 else 'incomplete'}:[/] ", end="")
    _err.print(message, markup=False, soft_wrap=True)
    for detail in details:
        _err.print(f"  - {detail}", markup=False, soft_wrap=True)
    raise SystemExit(code)
