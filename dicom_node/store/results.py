"""Results of a version: recorded once, and put in the outbox of each destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.records import ResultObject
from dicom_node.store.events import record_event
from dicom_node.store.outbox import enter_delivery, give_up_replaced
from dicom_node.store.schema import (
    StudyState,
    VersionState,
    results,
    versions,
)
from dicom_node.store.versions import set_study_state

__all__ = ["finish_version", "named_results"]

_BATCH = 500


def finish_version(
    connection: Connection,
    version_id: int,
    *,
    run: int,
    fingerprint: str,
    objects: Iterable[ResultObject],
    result_dir: Path,
    data_dir: Path,
    destinations: Mapping[str, str],
    now: datetime,
    reason: str | None = None,
) -> tuple[str, ...] | None:
    """Record a version's results and put them in the outbox.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    version_id, run : int
        The work that is finished.
    fingerprint : str
        Names the model and configuration.
    objects : iterable of ResultObject
        Verified files below the data folder.
    result_dir : pathlib.Path
        The folder of this run's results.
    data_dir : pathlib.Path
        The data folder.
    destinations : mapping of str to str
        The profile that each destination gets.
    now : datetime
        The moment.
    reason : str, optional
        Why nothing could be grounded; absent where something was.

    Returns
    -------
    tuple of str or None
        Folders of an earlier run, relative to the data folder, that no row names
        any more; None: this run was superseded and nothing was recorded.

    Raises
    ------
    StoreError
        An object has the UID of an earlier one and other bytes.

    """
    version = connection.execute(
        select(versions).where(versions.c.id == version_id)
    ).one()
    if version.run != run or version.state != VersionState.PROCESSING:
        return None
    made = tuple(objects)
    for one in made:
        result_id = _record_result(
            connection, version, one, fingerprint, data_dir=data_dir, now=now
        )
        for destination, profile in destinations.items():
            if profile == one.profile:
                enter_delivery(connection, result_id, version_id, destination, now=now)
    folder = result_dir.relative_to(data_dir).as_posix()
    connection.execute(
        update(versions)
        .where(versions.c.id == version_id)
        .values(
            state=VersionState.DONE,
            finished_at=now,
            result_dir=folder,
            reason=None if reason is None else reason[:1024],
            removed_at=None,
        )
    )
    give_up_replaced(connection, version_id, now=now)
    set_study_state(connection, version_id, StudyState.DONE)
    record_event(
        connection,
        EventKind.STUDY_PROCESSED,
        at=now,
        study_id=version.study_id,
        subject=version.content_version,
        detail={"result_count": len(made), "run": run},
    )
    old = version.result_dir
    if not old or old == folder:
        return ()
    still_named = connection.scalar(
        select(results.c.id)
        .where(results.c.path.startswith(f"{old}/"), results.c.removed_at.is_(None))
        .limit(1)
    )
    return () if still_named is not None else (old,)


def named_results(connection: Connection, folders: Iterable[str]) -> set[str]:
    """Return which of these folders a version or a result lies in, and is kept.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A transaction.
    folders : iterable of str
        Relative to the data folder.

    """
    found: set[str] = set()
    wanted = iter(folders)
    while batch := list(islice(wanted, _BATCH)):
        found.update(
            connection.scalars(
                select(versions.c.result_dir).where(
                    versions.c.result_dir.in_(batch), versions.c.removed_at.is_(None)
                )
            )
        )
        # A version that was made again keeps results of before: few, one by one.
        found.update(
            folder
            for folder in batch
            if folder not in found
            and connection.scalar(
                select(results.c.id)
                .where(
                    results.c.path.startswith(f"{folder}/", autoescape=True),
                    results.c.removed_at.is_(None),
                )
                .limit(1)
            )
            is not None
        )
    return found


def _record_result(
    connection: Connection,
    version: Row[Any],
    one: ResultObject,
    fingerprint: str,
    *,
    data_dir: Path,
    now: datetime,
) -> int:
    path = one.path.relative_to(data_dir).as_posix()
    uid = one.reference.sop_instance_uid
    known = connection.execute(
        select(results).where(results.c.sop_instance_uid == uid)
    ).one_or_none()
    if known is not None:
        if known.sha256 != one.sha256:
            msg = "a result has the SOP Instance UID of an earlier one and other bytes"
            raise StoreError(msg, sop_instance_uid=uid)
        connection.execute(
            update(results)
            .where(results.c.id == known.id)
            .values(path=path, size_bytes=one.path.stat().st_size, removed_at=None)
        )
        return int(known.id)
    key = connection.execute(
        insert(results).values(
            version_id=version.id,
            sop_instance_uid=uid,
            sop_class_uid=one.reference.sop_class_uid,
            series_instance_uid=one.reference.series_instance_uid,
            study_instance_uid=one.reference.study_instance_uid,
            transfer_syntax_uid=one.transfer_syntax_uid,
            profile=one.profile,
            path=path,
            sha256=one.sha256,
            size_bytes=one.path.stat().st_size,
            fingerprint=fingerprint,
            created_at=now,
        )
    ).inserted_primary_key
    return int(key[0])  # type: ignore[index]
