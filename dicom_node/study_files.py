"""Files on disk -> studies that are ready to process, without network or database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import ReceiveError
from dicom_node.header import InstanceHeader, instance_sha256, read_header
from dicom_node.identity import content_version
from dicom_node.records import NotProcessed, StoredInstance, StudyReady

__all__ = ["StudyFiles", "gather_studies", "list_files"]


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """The studies found among files, and the files that are in none of them."""

    studies: tuple[StudyReady, ...]
    left_out: tuple[NotProcessed, ...]


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
    by_study: dict[str, dict[str, StoredInstance]] = {}
    left_out: list[NotProcessed] = []
    for path in list_files(paths):
        try:
            header = read_header(path)
        except ReceiveError as error:
            left_out.append(NotProcessed("", f"{path.name}: {error}"))
            continue
        if header.is_own_result:
            continue
        instance = _stored(path, header)
        known = by_study.setdefault(header.study_instance_uid, {})
        earlier = known.setdefault(instance.sop_instance_uid, instance)
        if earlier.sha256 != instance.sha256:
            left_out.append(
                NotProcessed(
                    instance.series_instance_uid,
                    f"{path.name}: another file has the same SOP Instance UID "
                    "and other content",
                )
            )
    return StudyFiles(
        studies=tuple(
            StudyReady(
                study_instance_uid=uid,
                content_version=content_version(one.sha256 for one in known.values()),
                instances=tuple(known[key] for key in sorted(known)),
            )
            for uid, known in sorted(by_study.items())
        ),
        left_out=tuple(left_out),
    )


def _stored(path: Path, header: InstanceHeader) -> StoredInstance:
    return StoredInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        series_instance_uid=header.series_instance_uid,
        path=path.resolve(),
        sha256=instance_sha256(path, header),
    )
