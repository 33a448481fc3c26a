"""Files on disk -> studies that are ready to process, without network or database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import ReceiveError
from dicom_node.header import InstanceHeader, read_header
from dicom_node.identity import content_version
from dicom_node.instance_file import instance_sha256
from dicom_node.records import NotProcessed, StoredInstance, StudyReady

__all__ = ["LeftOut", "StudyFiles", "gather_studies", "list_files"]

_CONFLICT = "another file has the same SOP Instance UID and other content"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that became part of no study.

    ``reason`` does not name the file: names of exported files often are names of
    patients. ``study_instance_uid`` is empty when the file could not be read.
    """

    path: Path
    study_instance_uid: str
    reason: NotProcessed


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """The studies found among files, and the files that are in none of them."""

    studies: tuple[StudyReady, ...]
    left_out: tuple[LeftOut, ...]


def list_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the files that paths name, folders searched to the bottom, sorted.

    Raises
    ------
    FileNotFoundError
        A path does not exist.

    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            msg = f"{path}: no such file or folder"
            raise FileNotFoundError(msg)
        found.extend(
            sorted(one for one in path.rglob("*") if one.is_file())
            if path.is_dir()
            else [path]
        )
    return tuple(found)


def gather_studies(paths: Iterable[Path]) -> StudyFiles:
    """Group DICOM files by study.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        Files or folders.

    Returns
    -------
    StudyFiles
        Studies in the order of their UIDs. Copies of an instance count once,
        results of this node not at all; a file that is no DICOM instance is left
        out with its reason.

    """
    by_study: dict[str, dict[str, list[StoredInstance]]] = {}
    left_out: list[LeftOut] = []
    for path in list_files(paths):
        try:
            header = read_header(path)
        except ReceiveError as error:
            reason = f"a file cannot be read: {error}"
            left_out.append(LeftOut(path, "", NotProcessed("", reason)))
            continue
        if header.is_own_result:
            continue
        known = by_study.setdefault(header.study_instance_uid, {})
        known.setdefault(header.sop_instance_uid, []).append(_stored(path, header))
    studies = []
    for uid, known in sorted(by_study.items()):
        kept = []
        for sop_instance_uid in sorted(known):
            # The choice must not depend on the order of the files.
            first, *others = sorted(known[sop_instance_uid], key=lambda one: one.sha256)
            kept.append(first)
            left_out.extend(
                LeftOut(
                    one.path,
                    uid,
                    NotProcessed(one.series_instance_uid, _CONFLICT),
                )
                for one in others
                if one.sha256 != first.sha256
            )
        studies.append(
            StudyReady(
                study_instance_uid=uid,
                content_version=content_version(one.sha256 for one in kept),
                instances=tuple(kept),
            )
        )
    return StudyFiles(studies=tuple(studies), left_out=tuple(left_out))


def _stored(path: Path, header: InstanceHeader) -> StoredInstance:
    return StoredInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        series_instance_uid=header.series_instance_uid,
        path=path.resolve(),
        sha256=instance_sha256(path, header),
    )
