"""``dicom-node serve | work | demo | doctor | settings``: run a node."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.common import OUT, ConfigOption, keep_private
from dicom_node.config import load_settings
from dicom_node.errors import SettingsError

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def serve(config: ConfigOption = None) -> None:
    """Run the node: receive studies, ground their phrases, send results."""
    # What modules make while they load is no garbage, and is looked at no more.
    gc.disable()
    from dicom_node.service import run_node

    gc.freeze()
    gc.enable()
    keep_private()
    run_node(load_settings(config))


@commands.command()
def work(
    config: ConfigOption = None,
    listen: Annotated[
        str | None,
        typer.Option(
            help="Address and port of /health and /metrics, as 127.0.0.1:8043."
        ),
    ] = None,
) -> None:
    """Process studies for a node whose `workers` are enabled, until told to end."""
    from dicom_node.jobs import run_worker

    keep_private()
    run_worker(load_settings(config), listen=_address_of(listen))


@commands.command()
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
    from dicom_node.commands.demo import run_demo

    stays = sys.stdin.isatty() if stay is None else stay
    raise typer.Exit(run_demo(out, console=OUT, stay=stays))


@commands.command()
def doctor(config: ConfigOption = None) -> None:
    """Check the set-up, echo every destination, say what is wrong in plain words."""
    from dicom_node.commands.doctor import examine

    keep_private()
    is_good = True
    for one in examine(load_settings(config)):
        mark = "[green]ok[/]" if one.is_good else "[red]problem[/]"
        OUT.print(f"{mark:>18}  {one.text}", soft_wrap=True)
        is_good &= one.is_good
    if not is_good:
        raise typer.Exit(1)


@commands.command()
def settings() -> None:
    """Print every setting, its default and its meaning, as Markdown."""
    from dicom_node.commands.settings_page import render_settings

    typer.echo(render_settings(), nl=False)


def _address_of(listen: str | None) -> tuple[str, int] | None:
    if listen is None:
        return None
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError("--listen: it is address:port, as 127.0.0.1:8043")
    return host.strip("[]"), int(port)
