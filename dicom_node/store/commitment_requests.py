"""Storage commitment of what was sent to us: asked -> reported | dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from dicom_node.audit import EventKind
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.outbox import GIVE_UP_AFTER
from dicom_node.store.schema import commitments, instances, remote_answers

__all__ = ["CommitmentRequestStore", "CommitmentTask", "KeptInstance", "SopPair"]

SopPair = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""

_SCP = "scp"
_ASKED, _REPORTED, _DEAD = "asked", "reported", "dead"

_CHUNK = 500
"""UIDs in one query: SQLite bounds the parameters."""


@dataclass(frozen=True, slots=True)
class CommitmentTask:
    """A peer's request that it has not been told the end of."""

    key: int
    peer: str
    """Its AE title."""
    transaction_uid: str
    references: tuple[SopPair, ...]
    attempts: int
    next_at: datetime
    """When it is to be told (again)."""


@dataclass(frozen=True, slots=True)
class KeptInstance:
    """A received instance as its row describes it; ``path`` is relative."""

    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    sha256: str


class CommitmentRequestStore:
    """What peers ask the node to commit to.

    Parameters
    ----------
    database : Database
        Where it is.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep_request(
        self,
        peer: str,
        transaction_uid: str,
        *,
        references: Sequence[SopPair],
        now: datetime,
        is_told_here: bool,
    ) -> int | None:
        """Make a peer's request durable; None: the UID was used for something else.

        ``is_told_here``: the report goes out on the association of the request.
        """
        items = [list(one) for one in references]
        with self._database.write() as connection:
            known = connection.execute(
                select(commitments).where(
                    commitments.c.role == _SCP,
                    commitments.c.peer == peer,
                    commitments.c.transaction_uid == transaction_uid,
                )
            ).one_or_none()
            values = {
                "state": _ASKED,
                "asked_at": now,
                "attempts": 0,
                "detail": {"is_told_here": is_told_here, "next_at": now.isoformat()},
            }
            if known is not None:
                if known._mapping["items"] != items:
                    return None
                connection.execute(
                    update(commitments)
                    .where(commitments.c.id == known.id)
                    .values(**values)
                )
                return int(known.id)
            key = connection.execute(
                insert(commitments).values(
                    transaction_uid=transaction_uid,
                    role=_SCP,
                    peer=peer,
                    items=items,
                    **values,
                )
            ).inserted_primary_key
            record_event(
                connection,
                EventKind.COMMITMENT_REQUESTED,
                at=now,
                subject=transaction_uid,
                detail={"calling_ae_title": peer, "instances": len(items)},
            )
            return int(key[0])  # type: ignore[index]

    def tasks(self) -> tuple[CommitmentTask, ...]:
        """Return the requests whose peers wait for a report, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(commitments)
                .where(commitments.c.role == _SCP, commitments.c.state == _ASKED)
                .order_by(commitments.c.id)
            ).all()
        return tuple(_task(row) for row in rows if not row.detail["is_told_here"])

    def told(self, key: int, *, now: datetime, failed: int | None = None) -> None:
        """Record that a peer took its report."""
        with self._database.write() as connection:
            row = _set_commitment(connection, key, _REPORTED, answered_at=now)
            record_event(
                connection,
                EventKind.COMMITMENT_REPORTED,
                at=now,
                subject=row.transaction_uid,
                detail={"calling_ae_title": row.peer, "failed": failed},
            )

    def not_told(
        self, key: int, *, reason: str, now: datetime, next_at: datetime | None
    ) -> None:
        """Record that a peer did not take its report; None: it is not tried again."""
        with self._database.write() as connection:
            row = connection.execute(
                select(commitments).where(commitments.c.id == key)
            ).one()
            is_over = next_at is None or now - row.asked_at >= GIVE_UP_AFTER
            detail = dict(row.detail) | {"reason": reason}
            if next_at is not None:
                detail["next_at"] = next_at.isoformat()
            _set_commitment(
                connection,
                key,
                _DEAD if is_over else _ASKED,
                attempts=row.attempts + 1,
                detail=detail,
            )
            if is_over:
                record_event(
                    connection,
                    EventKind.COMMITMENT_REPORT_DEAD,
                    at=now,
                    subject=row.transaction_uid,
                    detail={"calling_ae_title": row.peer, "reason": reason},
                )

    def kept_instances(
        self, sop_instance_uids: Sequence[str]
    ) -> dict[str, list[KeptInstance]]:
        """Return the rows of instances; of those with two contents, both."""
        found: dict[str, list[KeptInstance]] = {}
        with self._database.read() as connection:
            for at in range(0, len(sop_instance_uids), _CHUNK):
                wanted = sop_instance_uids[at : at + _CHUNK]
                rows = [
                    row
                    for table, is_here in (
                        (instances, (instances.c.removed_at.is_(None),)),
                        (remote_answers, ()),
                    )
                    for row in connection.execute(
                        select(
                            table.c.sop_class_uid,
                            table.c.sop_instance_uid,
                            table.c.path,
                            table.c.sha256,
                        ).where(table.c.sop_instance_uid.in_(wanted), *is_here)
                    )
                ]
                for row in rows:
                    found.setdefault(row.sop_instance_uid, []).append(
                        KeptInstance(row[0], row[1], Path(row.path), row.sha256)
                    )
        return found


def _set_commitment(
    connection: Connection, key: int, state: str, **values: Any
) -> Row[Any]:
    connection.execute(
        update(commitments).where(commitments.c.id == key).values(state=state, **values)
    )
    return connection.execute(select(commitments).where(commitments.c.id == key)).one()


def _task(row: Row[Any]) -> CommitmentTask:
    return CommitmentTask(
        key=row.id,
        peer=row.peer,
        transaction_uid=row.transaction_uid,
        references=tuple((one[0], one[1]) for one in row._mapping["items"]),
        attempts=row.attempts,
        next_at=datetime.fromisoformat(row.detail["next_at"]),
    )
