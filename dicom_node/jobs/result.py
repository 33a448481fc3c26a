"""What came of a job, as JSON: its files with their hashes, and which are objects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from dicom_node.errors import FileAreaError
from dicom_node.records import ObjectReference, ResultObject

__all__ = [
    "LeftFile",
    "check_file",
    "check_key",
    "copy_whole",
    "make_result",
    "read_files",
    "read_objects",
]

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file that a worker left for the node."""

    path: PurePosixPath
    """Its place in the folder of results."""
    sha256: str
    key: str
    """Its name in the place that node and workers share."""


def make_result(
    folder: Path,
    objects: Sequence[ResultObject],
    *,
    leave: Callable[[Path, str], str],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Leave the files of a folder and say what they are.

    Parameters
    ----------
    folder : pathlib.Path
        The results.
    objects : sequence of ResultObject
        Those of the files that are objects.
    leave : callable
        Leaves a file with this SHA-256 and returns its key.
    seconds : mapping of str to float
        How long the steps of the job took.

    """
    folder = folder.resolve()
    files = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(folder).as_posix()
        files.append([name, sha256, leave(path, sha256)])
    return {
        "files": files,
        "objects": [
            {
                "path": one.path.relative_to(folder).as_posix(),
                "reference": [
                    one.reference.sop_class_uid,
                    one.reference.sop_instance_uid,
                    one.reference.series_instance_uid,
                    one.reference.study_instance_uid,
                ],
                "sha256": one.sha256,
                "transfer_syntax_uid": one.transfer_syntax_uid,
                "segments": dict(one.segments),
                "profile": one.profile,
            }
            for one in objects
        ],
        "seconds": dict(seconds),
    }


def read_files(result: Mapping[str, Any]) -> tuple[LeftFile, ...]:
    """Return the files of a result.

    Raises
    ------
    FileAreaError
        One of them would lie outside the folder of results.

    """
    found = []
    for name, sha256, key in result["files"]:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise FileAreaError("a worker named a file outside the results")
        found.append(LeftFile(path, sha256, key))
    return tuple(found)


def read_objects(result: Mapping[str, Any], folder: Path) -> tuple[ResultObject, ...]:
    """Return the objects of a result whose files lie in a folder.

    Raises
    ------
    FileAreaError
        One of them is not among the files.

    """
    hashes = {str(one.path): one.sha256 for one in read_files(result)}
    folder = folder.resolve()
    found = []
    for one in result["objects"]:
        if hashes.get(one["path"]) != one["sha256"]:
            raise FileAreaError("a worker named an object that it did not leave")
        found.append(
            ResultObject(
                path=folder / one["path"],
                reference=ObjectReference(*one["reference"]),
                sha256=one["sha256"],
                transfer_syntax_uid=one["transfer_syntax_uid"],
                segments=dict(one["segments"]),
                profile=one["profile"],
            )
        )
    return tuple(found)


def check_file(path: Path, sha256: str) -> None:
    """See whether a file is what was said.

    Raises
    ------
    FileAreaError
        It is not.

    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise FileAreaError("a file is not whole: its SHA-256 is another one")


def check_key(key: str, *folder: str) -> None:
    """See whether a key lies below a folder of the place for files.

    Raises
    ------
    FileAreaError
        It does not, or only by a way through another one.

    """
    parts = key.split("/")
    if (
        len(parts) <= len(folder)
        or parts[: len(folder)] != list(folder)
        or not {"", ".", ".."}.isdisjoint(parts)
    ):
        raise FileAreaError("a worker named a file outside its results")


def copy_whole(source: BinaryIO, copy: BinaryIO, sha256: str) -> None:
    """Copy a file and see whether what was copied is what was said.

    Raises
    ------
    FileAreaError
        It is not.
    OSError
        It cannot be read or written.

    """
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
        copy.write(piece)
    if digest.hexdigest() != sha256:
        raise FileAreaError("a file is not whole: its SHA-256 is another one")
