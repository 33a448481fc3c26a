"""After a crash: make files and rows agree again.

What never became whole is deleted (nobody was told that it arrived), and so is what
was refused and what retention removed; any other file without a row gets one, or is
set aside where it cannot be read, and a row without its file is told aloud: that is a
lost instance.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import islice
from pathlib import Path

import structlog

from dicom_node.audit import EventKind
from dicom_node.errors import CannotUnderstandError
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.records import ReceivedInstance
from dicom_node.spool import Spool
from dicom_node.spool.final_names import TakenOut
from dicom_node.spool.quarantine import count_quarantined, set_aside
from dicom_node.store import Store
from dicom_node.wording import counted

__all__ = ["ReconcileReport", "describe_trouble", "reconcile"]

_BATCH = 500
_HASH = re.compile(r"[0-9a-f]{64}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What was found."""

    reindexed: int
    """Files that got a row."""
    unreadable: int
    """Files without a row that cannot be read, or are not what their name says."""
    missing: int
    """Rows whose file is gone or has another size."""
    refused: int = 0
    """Files without a row that were deleted: whoever sent them was told so."""
    quarantined: int = 0
    """Unreadable files that are set aside, by this start and those before it."""
    left: int = 0
    """Unreadable files that stay where they are: too many, or the disk failed."""

    @property
    def trouble(self) -> str | None:
        """What a person has to look at, in words; None: nothing."""
        return describe_trouble(asdict(self))


def reconcile(store: Store, spool: Spool) -> ReconcileReport:
    """Compare every file with its row and every row with its file.

    Parameters
    ----------
    store : Store
        The rows.
    spool : Spool
        The files; what is being stored through it now is left to whoever does that.

    Raises
    ------
    StoreError
        The database could not answer.

    """
    reindexed = unreadable = refused = left = 0
    for found in _batches(spool.files()):
        # By name and not by time: a power cut may set the clock back. Asked before the
        # rows, since what ends meanwhile has its row by then.
        held = spool.names.held()
        paths = [path for path in found if path not in held]
        known = store.known_paths(path.as_posix() for path in paths)
        without = [path for path in paths if path.as_posix() not in known]
        strays = store.files.delete_strays(without, spool.names)
        marked = {path for path in without if spool.names.is_refused(path)} - strays
        refused += store.files.delete_refused(spool.names, marked)
        for path in without:
            if path in strays or path in marked:
                continue
            match _reindex(store, spool.data_dir, path):
                case _Found.UNDERSTOOD:
                    reindexed += 1
                case _Found.UNREADABLE:
                    unreadable += 1
                    left += 1
                case _Found.GONE:
                    pass
                case _Found.DAMAGED:
                    unreadable += 1
                    left += not _set_aside(store, spool, path)
    missing = _missing(store, spool.data_dir)
    report = ReconcileReport(
        reindexed,
        unreadable,
        missing,
        refused,
        count_quarantined(spool.data_dir),
        left,
    )
    store.record_event(EventKind.FILES_RECONCILED, detail=asdict(report))
    log.info("reconciled", **asdict(report))
    return report


class _Found(Enum):
    UNDERSTOOD = auto()
    DAMAGED = auto()
    GONE = auto()
    """Somebody who looked whether a row names it deleted it meanwhile."""
    UNREADABLE = auto()
    """By the system's word: that may pass."""


def describe_trouble(found: Mapping[str, int]) -> str | None:
    """Say what a person has to look at, of a report's values; None: nothing."""
    told = []
    if missing := found.get("missing"):
        told.append(
            counted(
                missing, "instance has lost its file", "instances have lost their file"
            )
        )
    if quarantined := found.get("quarantined"):
        told.append(
            counted(quarantined, "unreadable file is", "unreadable files are")
            + " set aside in quarantine/"
        )
    if left := found.get("left"):
        told.append(
            counted(left, "more unreadable file", "more unreadable files")
            + " could not be set aside"
        )
    return "; ".join(told) or None


def _batches(paths: Iterator[Path]) -> Iterator[list[Path]]:
    while batch := list(islice(paths, _BATCH)):
        yield batch


def _reindex(store: Store, data_dir: Path, path: Path) -> _Found:
    whole = data_dir / path
    try:
        header = read_header(whole)
        sha256 = instance_sha256(whole, header)
        facts = whole.stat()
    except (CannotUnderstandError, OSError) as error:
        system = error if isinstance(error, OSError) else error.__cause__
        if isinstance(system, FileNotFoundError) and not os.path.lexists(whole):
            return _Found.GONE
        may_pass = isinstance(system, OSError)
        # The text of an OSError quotes the whole path.
        reason = system.strerror if isinstance(system, OSError) else str(error)
        log.warning("file_unreadable", path=_name(path), reason=reason)
        return _Found.UNREADABLE if may_pass else _Found.DAMAGED
    if path.stem != sha256:
        log.warning("file_unreadable", path=_name(path), reason="other content")
        return _Found.DAMAGED
    store.record_instance(
        ReceivedInstance(
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            path=path,
            sha256=sha256,
            size_bytes=facts.st_size,
            # Who sent it is not in the file.
            calling_ae_title="",
            peer_address="",
            received_at=datetime.fromtimestamp(facts.st_mtime, UTC),
            is_own_result=header.is_own_result,
            study=header.study,
            series=header.series,
            image=header.image,
        )
    )
    log.info("file_reindexed", path=path.as_posix())
    return _Found.UNDERSTOOD


def _set_aside(store: Store, spool: Spool, path: Path) -> bool:
    def move(taken: TakenOut) -> bool:
        return set_aside(spool.data_dir, taken.place, name=path.name)

    if not store.files.quarantine(path, spool.names, set_aside=move):
        log.error("file_not_quarantined", path=_name(path))
        return False
    store.record_event(
        EventKind.FILE_QUARANTINED,
        subject=path.stem if _HASH.fullmatch(path.stem) else None,
        detail={"reason": "a file without a row cannot be read"},
    )
    log.warning("file_quarantined", path=_name(path))
    return True


def _name(path: Path) -> str:
    # A name that the node did not give may hold anything, a patient's name too.
    return path.as_posix() if _HASH.fullmatch(path.stem) else "(not a name of ours)"


def _missing(store: Store, data_dir: Path) -> int:
    missing = 0
    last = 0
    while files := store.recorded_files(after_id=last, limit=_BATCH):
        for one in files:
            try:
                is_there = (data_dir / one.path).stat().st_size == one.size_bytes
            except OSError:
                is_there = False
            if not is_there:
                missing += 1
                store.record_missing_file(one)
                log.error("file_missing", path=one.path.as_posix())
        last = files[-1].instance_id
    return missing
