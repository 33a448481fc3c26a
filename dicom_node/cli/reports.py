"""``dicom-node reports waiting | forget``: reports whose study is not here."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dicom_node.cli.common import OUT, ConfigOption
from dicom_node.config import load_settings

__all__ = ["report_commands"]

report_commands = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reports that wait for their study; nothing that they say is shown.",
)


@report_commands.command()
def waiting(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 100,
) -> None:
    """List the reports that wait for their study or its first image."""
    from dicom_node.commands.status import read_waiting_reports

    found = read_waiting_reports(load_settings(config), limit=limit)
    table = Table("Number", "Received", "By", "From", "Status", "Study")
    for one in found:
        table.add_row(
            str(one.report_id),
            one.received_at.isoformat(timespec="seconds"),
            one.channel,
            Text(one.sender),
            one.status,
            one.study_instance_uid or "by accession number",
        )
    OUT.print(table if found else "no report waits")


@report_commands.command()
def forget(
    number: Annotated[int, typer.Argument(help="As `waiting` lists it.", min=1)],
    config: ConfigOption = None,
) -> None:
    """Delete a report that waits; if its study comes later, it comes without it."""
    from dicom_node.commands.status import forget_report

    forget_report(load_settings(config), number)
    OUT.print(f"report {number} is deleted")
