"""``dicom-node rules``: which studies are processed."""

from __future__ import annotations

import typer

from dicom_node.cli.common import OUT, ConfigOption, PathsArgument, fail
from dicom_node.config import load_settings

__all__ = ["rules_commands"]

rules_commands = typer.Typer(no_args_is_help=True, help="Which studies are processed.")


@rules_commands.command("test")
def rules_test(paths: PathsArgument, config: ConfigOption = None) -> None:
    """Say which rule fits files, each taken as the first image of a series."""
    from dicom_node.commands.study_files import list_files
    from dicom_node.rules import try_rules

    settings = load_settings(config)
    try:
        files = list_files(paths)
    except FileNotFoundError as error:
        fail(str(error), 2)
    trial = try_rules(files, settings.rules)
    for step in trial.steps:
        mark = "[green]fits[/]" if step.is_match else "[dim]no[/]"
        why = f"  ({step.trouble})" if step.trouble else ""
        OUT.print(f"{mark:>18}  {step.rule}{why}", soft_wrap=True)
        OUT.print(f"          {step.when}", soft_wrap=True, markup=False)
    made = trial.decision
    if not made.is_processed:
        OUT.print(f"not processed: rule {made.rule}")
        return
    hours = ", in off-peak hours" if made.is_off_peak else ""
    OUT.print(
        f"processed by {made.model or 'the default model'}, {made.priority}{hours}: "
        + (f"rule {made.rule}" if made.rule else "no rule fits")
    )
