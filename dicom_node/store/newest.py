"""The results that count of a version: those of the newest run that finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, or_, select

from dicom_node.records import ObjectReference
from dicom_node.store.schema import DeliveryState, deliveries, results, versions

__all__ = [
    "is_superseded",
    "newest_result_ids",
    "newest_results",
    "reference_of",
    "superseded_by",
]


def newest_results(connection: Connection, version_id: int) -> Sequence[Row[Any]]:
    """Return the result rows of a version's newest run, in the order of making.

    A result that is made again keeps its row: where its file lies tells whose it is
    now. None: the version has no results.
    """
    return connection.execute(
        select(results)
        .where(results.c.id.in_(newest_result_ids(version_id)))
        .order_by(results.c.id)
    ).all()


def newest_result_ids(version_id: int | ColumnElement[int]) -> Select[tuple[int]]:
    """Return the query for the keys of `newest_results`."""
    shown, maker = versions.alias(), versions.alias()
    folder = shown.c.result_dir + "/"
    return (
        select(results.c.id)
        .join(maker, maker.c.id == results.c.version_id)
        .join(shown, shown.c.study_id == maker.c.study_id)
        .where(
            shown.c.id == version_id,
            func.substr(results.c.path, 1, func.length(folder)) == folder,
        )
    )


def superseded_by(
    connection: Connection, version_id: int, sop_instance_uids: Sequence[str]
) -> tuple[ObjectReference, ...]:
    """Return what a version has and objects that were made for it now replace.

    Nothing where these are what it has already: the same UIDs, so the same objects.
    """
    known = newest_results(connection, version_id)
    if {row.sop_instance_uid for row in known} <= set(sop_instance_uids):
        return ()
    return tuple(reference_of(row) for row in known)


def is_superseded(connection: Connection, row: Row[Any]) -> bool:
    """Whether a destination has, or is to get, something newer of the study.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Any transaction.
    row : sqlalchemy.Row
        A delivery's ``result_id``, ``version_id`` and ``destination``, and the
        ``study_id`` of its version.

    """
    newest = [one.id for one in newest_results(connection, row.version_id)]
    is_newer = deliveries.c.version_id > row.version_id
    if row.result_id not in newest:
        is_newer = or_(is_newer, deliveries.c.result_id.in_(newest))
    return bool(
        connection.scalar(
            select(
                exists().where(
                    versions.c.id == deliveries.c.version_id,
                    versions.c.study_id == row.study_id,
                    deliveries.c.destination == row.destination,
                    deliveries.c.state != DeliveryState.DEAD,
                    is_newer,
                )
            )
        )
    )


def reference_of(row: Row[Any]) -> ObjectReference:
    """Return the reference of a result row."""
    return ObjectReference(
        row.sop_class_uid,
        row.sop_instance_uid,
        row.series_instance_uid,
        row.study_instance_uid,
    )
