"""What was decided about a version: by which rule, with which model, how soon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from dicom_node.audit import EventKind
from dicom_node.store.events import record_event
from dicom_node.store.schema import StudyState, VersionState, versions
from dicom_node.store.versions import set_study_state

__all__ = [
    "RecordedDecision",
    "read_decision",
    "record_decision",
    "requested_versions",
]


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """What a version's row says."""

    rule: str | None
    model: str | None
    priority: str


def read_decision(connection: Connection, version_id: int) -> RecordedDecision | None:
    """Return what was decided about a version; None: nothing yet."""
    row = connection.execute(
        select(versions.c.rule, versions.c.model, versions.c.priority).where(
            versions.c.id == version_id
        )
    ).one_or_none()
    if row is None or row.priority is None:
        return None
    return RecordedDecision(row.rule, row.model, row.priority)


def requested_versions(connection: Connection) -> frozenset[int]:
    """Return which of the versions that wait a person asked for."""
    waits = [VersionState.READY, VersionState.PROCESSING]
    return frozenset(
        connection.scalars(
            select(versions.c.id).where(
                versions.c.state.in_(waits), versions.c.priority == "requested"
            )
        )
    )


def record_decision(
    connection: Connection,
    version_id: int,
    *,
    run: int,
    decision: RecordedDecision,
    is_processed: bool,
    now: datetime,
) -> None:
    """Record a decision; a version that is not to be processed ends here."""
    waits = [VersionState.READY, VersionState.PROCESSING]
    values: dict[str, object] = {
        "rule": decision.rule,
        "model": decision.model,
        "priority": decision.priority,
    }
    if not is_processed:
        values |= {
            "state": VersionState.IGNORED,
            "reason": f"the rule {decision.rule} leaves it out",
            "finished_at": now,
        }
    study_id = connection.execute(
        update(versions)
        .where(
            versions.c.id == version_id,
            versions.c.run == run,
            versions.c.state.in_(waits),
        )
        .values(**values)
        .returning(versions.c.study_id)
    ).scalar_one_or_none()
    if study_id is None or is_processed:
        return
    set_study_state(connection, version_id, StudyState.IGNORED)
    record_event(
        connection,
        EventKind.STUDY_IGNORED,
        at=now,
        study_id=study_id,
        detail={"rule": decision.rule},
    )
