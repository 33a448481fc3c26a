"""The files of what retention removed: those that no row names any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select

from dicom_node.store.schema import (
    VersionState,
    instances,
    remote_answers,
    remote_studies,
    results,
    versions,
)

__all__ = ["RemovedFiles", "forget_answers", "removed_folders", "removed_instances"]

_CHUNK = 500
_FILES_AT_ONCE = 100
"""Files that are deleted while nobody else can write: some milliseconds."""


@dataclass(frozen=True, slots=True)
class RemovedFiles:
    """Files and folders that no row names, relative to the data folder."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    sha256s: tuple[str, ...]
    """Hashes of instances and results whose cached metadata goes, too."""


def removed_instances(
    connection: Connection, study_id: int, *, after_id: int
) -> tuple[RemovedFiles, int | None]:
    """Return files of removed instances, and the row to go on after; None: the end."""
    rows = connection.execute(
        select(instances.c.id, instances.c.path, instances.c.sha256)
        .where(
            instances.c.study_id == study_id,
            instances.c.removed_at.is_not(None),
            instances.c.id > after_id,
        )
        .order_by(instances.c.id)
        .limit(_FILES_AT_ONCE)
    ).all()
    named = {
        *_scalars(
            connection,
            instances.c.path,
            [row.path for row in rows],
            instances.c.removed_at.is_(None),
        ),
        *_scalars(connection, remote_answers.c.path, [row.path for row in rows]),
    }
    gone = [row for row in rows if row.path not in named]
    last = rows[-1].id if len(rows) == _FILES_AT_ONCE else None
    return (
        RemovedFiles(
            tuple(Path(row.path) for row in gone),
            (),
            tuple(row.sha256 for row in gone),
        ),
        last,
    )


def removed_folders(connection: Connection, study_id: int) -> tuple[Path, ...]:
    """Return the folders of results that are all removed."""
    made = connection.execute(
        select(versions.c.result_dir, versions.c.removed_at, versions.c.state).where(
            versions.c.study_id == study_id
        )
    ).all()
    # A run that is under way puts its folder in place just before its rows.
    if any(_is_open(row) for row in made):
        return ()
    lying = connection.execute(
        select(results.c.path, results.c.removed_at)
        .join(versions, versions.c.id == results.c.version_id)
        .where(versions.c.study_id == study_id)
    ).all()
    every = [(row.result_dir, row.removed_at) for row in made if row.result_dir]
    every += [(Path(row.path).parent.as_posix(), row.removed_at) for row in lying]
    kept = {folder for folder, removed_at in every if removed_at is None}
    return tuple(Path(one) for one in sorted({folder for folder, _ in every} - kept))


def forget_answers(connection: Connection, study_id: int) -> tuple[Path, ...]:
    """Forget what remote models sent for versions whose results are removed."""
    rows = connection.execute(
        select(remote_answers.c.id, remote_answers.c.path)
        .join(remote_studies, remote_studies.c.id == remote_answers.c.remote_study_id)
        .join(versions, versions.c.id == remote_studies.c.version_id)
        .where(versions.c.study_id == study_id, versions.c.removed_at.is_not(None))
    ).all()
    for at in range(0, len(rows), _CHUNK):
        keys = [row.id for row in rows[at : at + _CHUNK]]
        connection.execute(delete(remote_answers).where(remote_answers.c.id.in_(keys)))
    named = _scalars(
        connection,
        instances.c.path,
        [row.path for row in rows],
        instances.c.removed_at.is_(None),
    )
    return tuple(Path(row.path) for row in rows if row.path not in named)


def _is_open(row: Any) -> bool:
    return row.state in {VersionState.READY, VersionState.PROCESSING}


def _scalars(
    connection: Connection,
    column: Any,
    values: list[str],
    *conditions: ColumnElement[bool],
) -> set[str]:
    return {
        one
        for at in range(0, len(values), _CHUNK)
        for one in connection.scalars(
            select(column).where(column.in_(values[at : at + _CHUNK]), *conditions)
        )
    }
