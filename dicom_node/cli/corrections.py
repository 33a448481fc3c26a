"""``dicom-node corrections``: what people corrected, as DICOM and as training data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.common import OUT, ConfigOption, keep_private, progress_bar
from dicom_node.config import NodeSettings, load_settings
from dicom_node.errors import CorrectionError, SettingsError
from dicom_node.wording import counted

if TYPE_CHECKING:
    from dicom_node.store import Store

__all__ = ["correction_commands"]

correction_commands = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What people corrected: as DICOM, and as training data.",
)

_OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]


@correction_commands.command()
def report(
    study: Annotated[str, typer.Argument(help="Study Instance UID.", metavar="STUDY")],
    out: _OutOption,
    version: Annotated[
        str | None,
        typer.Option(help="Content version; the newest with results when absent."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write the corrected report and the redrawn regions of a study; unverified.

    A report is verified only by the person who made the corrections, signed in.
    """
    from dicom_node.corrections.corrected import (
        make_corrected_objects,
        newest_by_region,
        nothing_said,
        read_corrected,
    )

    with _open(config) as (settings, store):
        data_dir = settings.node.data_dir.resolve()
        shown = store.details.shown_version(study, version)
        if shown is None:
            raise CorrectionError("there are no results of such a study")
        said = store.corrections.of_study(study)
        newest = newest_by_region(said, shown.content_version)
        if not newest:
            raise CorrectionError(nothing_said(said))
        read = read_corrected(store, shown, newest, data_dir=data_dir)
        try:
            out.mkdir(parents=True, exist_ok=True)
            made = make_corrected_objects(read, out_dir=out)
        except OSError as error:
            raise SettingsError(f"{out}: it cannot be written") from error
    for one in made:
        OUT.print(one.path.name, markup=False)


@correction_commands.command()
def export(
    out: _OutOption,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Only studies corrected on or after that day."
        ),
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(help="Study Instance UID; may be given again. All when absent."),
    ] = None,
    salt: Annotated[
        Path | None,
        typer.Option(help="Secret of the pseudonyms; in the data folder when absent."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write corrections for `python -m training build`, under pseudonyms.

    The same folder may be written again: what is there and still true is kept.
    """
    from dicom_node.corrections.export import export_corrections
    from dicom_node.corrections.pseudonyms import SALT_FILE, Pseudonyms
    from dicom_node.imaging import PixelReader
    from dicom_node.scratch import scratch_folder

    with _open(config) as (settings, store):
        data_dir = settings.node.data_dir.resolve()
        names = Pseudonyms.read(salt or data_dir / SALT_FILE)
        scratch = scratch_folder(data_dir)
        with (
            PixelReader(settings.limits, scratch_dir=scratch) as reader,
            progress_bar() as bar,
        ):
            task = bar.add_task("studies", total=None)
            found = export_corrections(
                store,
                out,
                data_dir=data_dir,
                reader=reader,
                pseudonyms=names,
                studies=study or (),
                since=None if since is None else since.replace(tzinfo=UTC),
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )
    OUT.print(
        f"{counted(found.written, 'picture', 'pictures')} written, {found.kept} kept"
    )
    for name, count in found.counts.items():
        OUT.print(f"{count:>8}  {name}", markup=False)


@contextmanager
def _open(config: Path | None) -> Iterator[tuple[NodeSettings, Store]]:
    from dicom_node.commands.status import open_store

    keep_private()
    settings = load_settings(config)
    with open_store(settings) as store:
        yield settings, store
