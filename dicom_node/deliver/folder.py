"""Results as files: each set in a folder of its own, there whole or not there.

    <folder>/.<name>.<random>.part/     while it is written
    <folder>/<name>/                    once everything in it is synced

Whoever watches the folder and leaves hidden names alone never sees half a result.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from dicom_node.config import DestinationSettings
from dicom_node.deliver.records import OnOutcome, Sendable, SendOutcome, failed
from dicom_node.durable import sync_path, write_whole
from dicom_node.errors import DeliveryError

__all__ = ["DOCUMENTS", "check_folder", "folder_name", "write_to_folder"]

DOCUMENTS = ("result.json", "fhir.json")
"""Files that go with the objects where they lie beside them."""

_BLOCK_BYTES = 1 << 20
_SHORT = 16


def folder_name(objects: Sequence[Sendable]) -> str:
    """Name the folder of a set of objects: study, and what the set is made of.

    The same set always has the same name. Result UIDs are derived from what was
    processed and by what, so each version of a study has a name of its own.
    """
    uids = "\n".join(sorted(one.sop_instance_uid for one in objects))
    version = hashlib.sha256(uids.encode()).hexdigest()[:_SHORT]
    return f"{objects[0].study_instance_uid or 'unknown'}-{version}"


def write_to_folder(
    objects: Sequence[Sendable],
    destination: DestinationSettings,
    *,
    on_outcome: OnOutcome,
) -> None:
    """Write objects and their documents to a folder of their own.

    Parameters
    ----------
    objects : sequence of Sendable
        One version's results: all of them are there afterwards, or none.
    destination : DestinationSettings
        Of kind ``folder``.
    on_outcome : callable
        Told each outcome: they are all the same.

    """
    if not objects or destination.folder is None:
        return
    final = destination.folder / folder_name(objects)
    try:
        if not final.is_dir():
            _write(objects, final)
    except OSError as error:
        reason = _reason(error, destination.folder)
        for one in objects:
            on_outcome(failed(one, reason))
        return
    for one in objects:
        on_outcome(SendOutcome(one.path, one.sop_instance_uid, True, None, ""))


def check_folder(destination: DestinationSettings) -> None:
    """Write a file to the folder and remove it again.

    Raises
    ------
    DeliveryError
        It is not there, or cannot be written to.

    """
    folder = destination.folder or Path()
    probe = folder / f".{secrets.token_hex(8)}.probe"
    try:
        write_whole(probe, b"").unlink()
    except OSError as error:
        raise DeliveryError(_reason(error, folder)) from error


def _write(objects: Sequence[Sendable], final: Path) -> None:
    # A pattern for each name would fill the caches of patterns.
    for leftover in final.parent.glob(".*.part"):
        if leftover.name.startswith(f".{final.name}."):
            shutil.rmtree(leftover)
    part = final.parent / f".{final.name}.{secrets.token_hex(8)}.part"
    part.mkdir()
    try:
        names: set[str] = set()
        for source in (*(one.path for one in objects), *_documents(objects)):
            # Objects of two profiles may have the same file name.
            name = source.name if source.name not in names else _other(source)
            names.add(name)
            _copy(source, part / name)
        sync_path(part)
        part.rename(final)
        sync_path(final.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _documents(objects: Sequence[Sendable]) -> list[Path]:
    """Return the documents that lie beside the objects, or beside their profile."""
    home = objects[0].path.parent
    if not (home / DOCUMENTS[0]).exists():
        home = home.parent
    return [home / name for name in DOCUMENTS if (home / name).is_file()]


def _other(source: Path) -> str:
    mark = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    return f"{source.stem}-{mark}{source.suffix}"


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as write:
        shutil.copyfileobj(read, write, _BLOCK_BYTES)
        write.flush()
        os.fsync(write.fileno())


def _reason(error: OSError, folder: Path) -> str:
    if not folder.is_dir():
        return "the folder is not there"
    return {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk is full",
        errno.EACCES: "the folder cannot be written to",
        errno.EPERM: "the folder cannot be written to",
        errno.EROFS: "the folder cannot be written to",
    }.get(error.errno or 0, "the folder did not take it")
