"""``dicom-node conformance``: what the node claims, and judging objects."""

from __future__ import annotations

import typer

from dicom_node.cli.common import OUT, PathsArgument, fail

__all__ = ["conformance_commands"]

conformance_commands = typer.Typer(
    no_args_is_help=True, help="What the node claims over DICOM; judge SEG and SR."
)


@conformance_commands.command("statement")
def conformance_statement() -> None:
    """Print the DICOM conformance statement (PS3.2 Annex N), as Markdown."""
    from conformance.statement import render_statement

    typer.echo(render_statement(), nl=False)


@conformance_commands.command("check")
def conformance_check(paths: PathsArgument) -> None:
    """Judge SEG and SR files by our rules, and by dciodvfy where installed.

    In a folder, other files are passed over.
    """
    from conformance.validators import is_judged, judge_file
    from dicom_node.commands.study_files import list_files

    try:
        files = list_files(paths)
    except FileNotFoundError as error:
        fail(str(error), 2)
    bad = 0
    for path in files:
        # In a folder there may be images and pictures beside the objects.
        if path not in paths and not is_judged(path):
            continue
        judgement = judge_file(path)
        bad += not judgement.is_valid
        verdict = "[green]valid[/]" if judgement.is_valid else "[red]invalid[/]"
        OUT.print(
            f"{path.name}: {verdict} ({', '.join(judgement.judges)})", soft_wrap=True
        )
        for violation in judgement.violations:
            OUT.print(f"    {violation}", soft_wrap=True, markup=False)
    if bad:
        raise typer.Exit(1)
