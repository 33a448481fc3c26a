"""The audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, insert

from dicom_node.audit import EventKind
from dicom_node.store.prepared import PreparedChange
from dicom_node.store.schema import events

__all__ = ["record_event"]

_INSERT = PreparedChange(
    insert(events), ("at", "kind", "study_id", "subject", "detail")
)


def record_event(
    connection: Connection,
    kind: EventKind,
    *,
    study_id: int | None = None,
    subject: str | None = None,
    at: datetime | None = None,
    detail: Mapping[str, str | int | float | bool | None] | None = None,
) -> None:
    """Write an event in the transaction of the change that it tells.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        The change's transaction.
    kind : EventKind
        What happened.
    study_id : int, optional
        Row of the study that it is about.
    subject : str, optional
        SOP Instance UID, content version or destination that it is about.
    at : datetime, optional
        When; now when absent.
    detail : mapping, optional
        Facts free of patient data.

    """
    _INSERT.run(
        connection,
        {
            "at": at or datetime.now(UTC),
            "kind": kind,
            "study_id": study_id,
            "subject": subject,
            "detail": dict(detail or {}),
        },
    )
