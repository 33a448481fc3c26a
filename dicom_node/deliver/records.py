"""What is sent and what became of it, whatever kind of destination it goes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info

from dicom_node.errors import CannotUnderstandError

__all__ = ["OnOutcome", "SendOutcome", "Sendable", "failed", "read_sendable"]


@dataclass(frozen=True, slots=True)
class Sendable:
    """A file and what must be negotiated to send it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str = ""
    """Needed by STOW-RS and folders."""


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one file. ``reason`` is empty when it was simply stored."""

    path: Path
    sop_instance_uid: str
    is_delivered: bool
    status: int | None
    """Status of C-STORE, failure reason or status of STOW-RS; None: it was not asked,
    did not answer, or is a folder."""
    reason: str
    is_refused: bool = False
    """It is not taken as it is, however often it is sent; False: another time, it may
    be."""


OnOutcome: TypeAlias = Callable[[SendOutcome], None]
"""Told each outcome when it is known."""


def failed(
    one: Sendable,
    reason: str,
    *,
    status: int | None = None,
    is_refused: bool = False,
) -> SendOutcome:
    """Return the outcome of what was not taken."""
    return SendOutcome(
        one.path, one.sop_instance_uid, False, status, reason, is_refused
    )


def read_sendable(path: Path) -> Sendable:
    """Read what must be negotiated to send a file.

    Raises
    ------
    CannotUnderstandError
        It is no DICOM file with file meta information (PS3.10 7.1).

    """
    try:
        meta = read_file_meta_info(path)
        return Sendable(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
        )
    except (
        InvalidDicomError,
        BytesLengthException,
        AttributeError,
        NotImplementedError,
        OSError,
        ValueError,
    ) as error:
        raise CannotUnderstandError("it is not a DICOM file") from error
