"""Instances that a power cut left on their way, though they were whole and synced.

A file is acknowledged once its bytes are durable under the name of a spare file; its
later names may be lost with the power (`spool`). It proves itself by its hash.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from dicom_node.errors import CannotUnderstandError
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.spool import Spool, proven_sha256

__all__ = ["adopt_leftovers"]

log = structlog.get_logger(__name__)


def adopt_leftovers(spool: Spool) -> int:
    """Give each leftover that is whole its final name again; return how many.

    To be called before anything is received, and before what is not whole is deleted.

    Parameters
    ----------
    spool : Spool
        Where they lie.

    Raises
    ------
    OSError
        The disk does not give a file, or does not take a name: nothing was deleted,
        and a later start finds the same.

    """
    adopted = 0
    for path in spool.leftovers():
        if (sha256 := proven_sha256(path)) is not None and _is_whole(path, sha256):
            final = spool.adopt(path, sha256)
            log.info("instance_recovered", path=final.as_posix())
            adopted += 1
    return adopted


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return instance_sha256(path, read_header(path)) == sha256
    except CannotUnderstandError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        return False  # Torn by the power cut, and so never acknowledged.
