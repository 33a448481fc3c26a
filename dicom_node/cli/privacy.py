"""``dicom-node deidentify``: what would leave to a remote model, as files or a list."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.common import ERR, OUT, ConfigOption, fail, keep_private
from dicom_node.config import NodeSettings, load_settings

if TYPE_CHECKING:
    from dicom_node.deidentify import Options

__all__ = ["commands"]

commands = typer.Typer()

_DOCUMENTS = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.")
"""PS3.4 B.5: structured reports and key objects, presentation states."""

_SHOWN_VALUES = 3
"""Different values of one element that the list shows."""


@commands.command()
def deidentify(
    source: Annotated[
        Path, typer.Argument(help="DICOM file or folder.", metavar="IN", exists=True)
    ],
    out: Annotated[
        Path | None,
        typer.Argument(help="Folder for the copies; none with --check.", metavar="OUT"),
    ] = None,
    remote: Annotated[
        str | None,
        typer.Option(
            help="As for this remote model of the settings; else the strictest."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; list what would leave.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """De-identify files by PS3.15 annex E; the same files give the same copies.

    The key of the pseudonyms is that of the node's data folder.
    """
    from dicom_node.commands.study_files import list_files
    from dicom_node.deidentify import Pseudonyms, deidentify_file, what_leaves
    from dicom_node.errors import DeidentificationError

    if check == (out is not None):
        fail("either OUT or --check is given", 2)
    settings = load_settings(config)
    options = _options(settings, remote)
    keep_private()
    key = _key(settings, is_check=check)
    pseudonyms = Pseudonyms(key, remote or "files")
    leaves: dict[str, set[str]] = defaultdict(set)
    reasons: Counter[str] = Counter()
    done = 0
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for path in list_files([source]):
        try:
            _refuse_documents(path)
            if out is None:
                for name, value in what_leaves(
                    path, pseudonyms, options=options
                ).items():
                    leaves[name].add(value)
            else:
                part = out / f"{done + 1:06}.dcm"
                deidentify_file(path, part, pseudonyms, options=options)
        except DeidentificationError as error:
            reasons[str(error)] += 1
        else:
            done += 1
    for name in sorted(leaves):
        OUT.print(_line(name, leaves[name]), markup=False, soft_wrap=True)
    what = "would leave" if out is None else f"written to {out}"
    OUT.print(f"{done} of {done + reasons.total()} {what}", markup=False)
    if reasons:
        lines = (f"{count} x {why}" for why, count in reasons.items())
        fail("these do not leave:", 1, *lines)


def _refuse_documents(path: Path) -> None:
    """Keep reports here: a remote model is asked in a report of the node's own."""
    from dicom_node.errors import DeidentificationError, ReceiveError
    from dicom_node.header import read_header

    try:
        header = read_header(path)
    except ReceiveError as error:
        raise DeidentificationError(str(error)) from error
    if header.sop_class_uid.startswith(_DOCUMENTS):
        raise DeidentificationError("reports and presentation states stay here")


def _key(settings: NodeSettings, *, is_check: bool) -> bytes:
    from dicom_node.deidentify import KEY_FILE, read_key

    folder = settings.node.data_dir.resolve()
    path = folder / KEY_FILE
    if not path.exists():
        if is_check:
            # Nothing is written, so other pseudonyms would leave than are shown.
            ERR.print(
                f"{path}: there is no key; one is made up", markup=False, soft_wrap=True
            )
            return secrets.token_bytes(32)
        ERR.print(
            f"{path}: there was no key; a new one is kept here",
            markup=False,
            soft_wrap=True,
        )
    return read_key(folder)


def _options(settings: NodeSettings, remote: str | None) -> Options:
    from dicom_node.deidentify import Options

    if remote is None:
        return Options()
    found = next((one for one in settings.remotes if one.name == remote), None)
    if found is None:
        fail(f"--remote: there is no remote {remote!r} in the settings", 2)
    return Options(
        retain_patient_characteristics=found.retain_patient_characteristics,
        allow_burned_in=found.allow_burned_in,
        allow_faces=found.allow_faces,
    )


def _line(name: str, values: set[str]) -> str:
    shown = sorted(values)[:_SHOWN_VALUES]
    more = len(values) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more else "")
    return f"{name}: {text}"
