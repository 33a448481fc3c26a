"""``dicom-node status | report | requeue | pause ...``: a node at work."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.common import ERR, OUT, ConfigOption, keep_private
from dicom_node.config import load_settings
from dicom_node.wording import counted

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def status(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the node has received, processed and delivered."""
    from dicom_node.commands.status import read_status, status_tables

    snapshot = read_status(load_settings(config))
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
        return
    for table in status_tables(snapshot):
        OUT.print(table)


@commands.command()
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
    """Give the node a report; the next one given so for its study replaces it."""
    from datetime import UTC, datetime

    from dicom_node.commands.status import hand_in_report
    from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
    from dicom_node.reports import read_report_text

    if how_far not in set(ReportStatus):
        raise typer.BadParameter("it is none of a report", param_hint="--status")
    incoming = IncomingReport(
        text=read_report_text(file),
        channel=ReportChannel.REST,
        status=ReportStatus(how_far),
        identifier="report",
        sender="command line",
        received_at=datetime.now(UTC),
        study_instance_uid=study,
        accession_number=accession,
    )
    OUT.print(hand_in_report(load_settings(config), incoming))


@commands.command()
def requeue(
    study: Annotated[str, typer.Argument(help="Study Instance UID.", metavar="STUDY")],
    config: ConfigOption = None,
) -> None:
    """Process a study again, or try its undelivered results at once."""
    from dicom_node.commands.status import requeue_study

    OUT.print(requeue_study(load_settings(config), study))


@commands.command()
def trace(
    study: Annotated[str, typer.Argument(help="Study Instance UID.", metavar="STUDY")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; printed when absent.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Say where a study's time went, as a trace that ui.perfetto.dev opens."""
    from dicom_node.commands.status import read_trace

    text = json.dumps(read_trace(load_settings(config), study))
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


@commands.command()
def retention(
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")
    ] = False,
) -> None:
    """Delete what `retention` lets go; a running node does so by itself."""
    from dicom_node.commands.keep_house import plan_removal, remove_due

    settings = load_settings(config)
    if not dry_run:
        OUT.print(
            counted(remove_due(settings), "study", "studies")
            + ": images or results deleted"
        )
        return
    due = plan_removal(settings)
    for one in due:
        OUT.print(
            f"{one.candidate.study_instance_uid}  "
            f"{' and '.join(sorted(one.rule.parts))}"
            f"  {one.candidate.size_bytes} bytes  ({one.rule.reason})",
            soft_wrap=True,
        )
    total = sum(one.candidate.size_bytes for one in due)
    removals = counted(len(due), "removal", "removals")
    OUT.print(f"{removals}, {total} bytes; nothing was deleted")


@commands.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A folder that is empty, or is made.")],
    config: ConfigOption = None,
    link: Annotated[
        bool,
        typer.Option(
            "--link", help="Give files a second name instead of copying their bytes."
        ),
    ] = False,
) -> None:
    """Copy the data folder, beside the running node or without it."""
    from dicom_node.commands.backup import make_backup

    keep_private()
    made = make_backup(load_settings(config), target, is_linked=link)
    OUT.print(
        f"{counted(made.files, 'file', 'files')}, {made.size_bytes} bytes",
        soft_wrap=True,
    )


@commands.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    config: ConfigOption = None,
) -> None:
    """Make the data folder from a backup; it must be empty."""
    from dicom_node.commands.backup import restore_backup

    keep_private()
    made = restore_backup(load_settings(config), source)
    OUT.print(
        f"{counted(made.files, 'file', 'files')}, {made.size_bytes} bytes",
        soft_wrap=True,
    )


@commands.command()
def pause(config: ConfigOption = None) -> None:
    """Process nothing more until `resume`; receiving and delivering go on."""
    from dicom_node.commands.operate import set_paused

    is_news = set_paused(load_settings(config), True)
    said = "paused" if is_news else "it was paused already"
    OUT.print(f"{said}: studies are received and wait; results are still delivered")


@commands.command()
def resume(config: ConfigOption = None) -> None:
    """Go on after `pause` or `drain`."""
    from dicom_node.commands.operate import set_draining, set_paused

    settings = load_settings(config)
    changed = (set_paused(settings, False), set_draining(settings, False))
    OUT.print("resumed" if any(changed) else "it was neither paused nor draining")


@commands.command()
def drain(
    config: ConfigOption = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Return when all is done but what absent destinations lack."
        ),
    ] = False,
) -> None:
    """Accept no new association and finish what is here, to stop without loss."""
    from dicom_node.commands.operate import read_remaining, set_draining

    settings = load_settings(config)
    set_draining(settings, True)
    left = read_remaining(settings)
    said = ""
    with ERR.status("draining") as told:
        while wait and not left.is_empty:
            told.update(f"draining: {left}")
            # Without a terminal nothing moves: what changes gets a line.
            if not ERR.is_terminal and said != (said := str(left)):
                ERR.print(f"draining: {left}", soft_wrap=True)
            time.sleep(1.0)
            left = read_remaining(settings)
    if not left.is_empty:
        OUT.print(f"draining: {left}", soft_wrap=True)
    elif left.undelivered:
        OUT.print(f"the node can be stopped: {left}; kept for its next start")
    else:
        OUT.print("nothing is left to do: the node can be stopped")
