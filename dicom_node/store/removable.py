"""Which studies are done with: conditions on a row of `studies`, for retention."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    func,
    or_,
    select,
    union,
)

from dicom_node.store.lookups import has_none
from dicom_node.store.outbox import GIVE_UP_AFTER
from dicom_node.store.schema import (
    DeliveryState,
    StudyState,
    VersionState,
    commitments,
    deliveries,
    instances,
    remote_studies,
    reports,
    results,
    studies,
    versions,
    workitems,
)
from dicom_node.store.workitems import WorkitemState

__all__ = [
    "COMMITTED_FOR",
    "StudyPart",
    "finished_at",
    "is_asked_about",
    "is_compared_with",
    "is_failed",
    "is_finished",
    "is_quiet",
    "no_newer_images",
    "no_newer_results",
    "size_of",
]

_CHUNK = 500
COMMITTED_FOR = timedelta(days=7)
"""For which a study stays whose instances the node has committed to, as its conformance
statement says."""


class StudyPart(StrEnum):
    """What can be deleted by itself."""

    IMAGES = "images"
    """Received instances, and the text of reports."""
    RESULTS = "results"


_REMOTE_OPEN = ("sending", "sent")
_ENDED = (WorkitemState.COMPLETED, WorkitemState.CANCELED, WorkitemState.LOST)
_AT_WORK = (VersionState.READY, VersionState.PROCESSING)
_DONE = (StudyState.DONE, StudyState.IGNORED, StudyState.IDLE)
_NOT_DONE = tuple(one for one in StudyState if one not in _DONE)
"""What a study is not in: SQLite would look nearly all studies up by their state, and
sort them, where it can walk from the oldest."""


def is_quiet() -> ColumnElement[bool]:
    """Return the claim that nothing of a study is under way or was asked for."""
    own = _versions()
    return and_(
        studies.c.is_forced.is_(False),
        studies.c.state.not_in([one for one in _NOT_DONE if one != StudyState.FAILED]),
        has_none(own.where(versions.c.state.in_(_AT_WORK))),
        has_none(
            select(workitems.c.id).where(
                or_(
                    workitems.c.study_id == studies.c.id,
                    workitems.c.study_instance_uid == studies.c.study_instance_uid,
                ),
                workitems.c.state.not_in(_ENDED),
            )
        ),
        has_none(
            own.join(
                remote_studies, remote_studies.c.version_id == versions.c.id
            ).where(remote_studies.c.state.in_(_REMOTE_OPEN))
        ),
    )


def is_finished() -> ColumnElement[bool]:
    """Return the claim that a study is processed, or left out, and delivered."""
    return and_(
        is_quiet(),
        studies.c.state.not_in(_NOT_DONE),
        has_none(_deliveries().where(deliveries.c.state != _DELIVERED)),
    )


def is_failed() -> ColumnElement[bool]:
    """Return the claim that a study failed, or results of it were given up."""
    failed = studies.alias("failed")
    return and_(
        is_quiet(),
        # They are few among many: looked for by what failed, and not study by study.
        studies.c.id.in_(
            union(
                select(failed.c.id).where(failed.c.state == StudyState.FAILED),
                select(versions.c.study_id)
                .join(deliveries, deliveries.c.version_id == versions.c.id)
                .where(deliveries.c.state == DeliveryState.DEAD),
            )
        ),
        has_none(
            _deliveries().where(
                deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.STORED])
            )
        ),
    )


def no_newer_images(before: datetime) -> ColumnElement[bool]:
    """Return the claim that no image or report of a study came since then."""
    return and_(
        has_none(
            select(instances.c.id).where(
                instances.c.study_id == studies.c.id,
                instances.c.removed_at.is_(None),
                instances.c.received_at >= before,
            )
        ),
        has_none(
            select(reports.c.id).where(
                reports.c.study_id == studies.c.id, reports.c.received_at >= before
            )
        ),
    )


def no_newer_results(before: datetime) -> ColumnElement[bool]:
    """Return the claim that no results of a study were made, tried or taken since."""
    return and_(
        has_none(_versions().where(versions.c.finished_at >= before)),
        has_none(
            _deliveries().where(
                or_(
                    deliveries.c.delivered_at >= before,
                    deliveries.c.last_attempt_at >= before,
                )
            )
        ),
    )


def finished_at() -> ColumnElement[Any]:
    """Return when the last version of a study was finished, or its last image came."""
    latest = (
        select(func.max(versions.c.finished_at))
        .where(versions.c.study_id == studies.c.id)
        .scalar_subquery()
    )
    return func.coalesce(latest, studies.c.last_received_at)


def size_of(parts: Iterable[StudyPart]) -> ColumnElement[int]:
    """Return the bytes of what is kept of a study."""
    size: dict[StudyPart, ScalarSelect[Any]] = {
        StudyPart.IMAGES: select(func.coalesce(func.sum(instances.c.size_bytes), 0))
        .where(instances.c.study_id == studies.c.id, instances.c.removed_at.is_(None))
        .scalar_subquery(),
        StudyPart.RESULTS: select(func.coalesce(func.sum(results.c.size_bytes), 0))
        .join(versions, versions.c.id == results.c.version_id)
        .where(versions.c.study_id == studies.c.id, results.c.removed_at.is_(None))
        .scalar_subquery(),
    }
    first, *others = (size[part] for part in sorted(parts))
    return sum(others, start=first)


def is_compared_with(connection: Connection, study_id: int) -> bool:
    """Whether a version that is at work compares with it."""
    chosen = connection.scalars(
        select(versions.c.priors).where(
            versions.c.state.in_([VersionState.READY, VersionState.PROCESSING]),
            versions.c.priors.is_not(None),
        )
    )
    return any(one[0] == study_id for priors in chosen for one in priors or ())


def is_asked_about(connection: Connection, study_id: int, *, now: datetime) -> bool:
    """Whether a peer waits for, or had lately, the node's commitment to some of it."""
    asked = connection.scalars(
        select(commitments.c["items"]).where(
            commitments.c.role == "scp",
            or_(
                and_(
                    commitments.c.state == "asked",
                    commitments.c.asked_at > now - GIVE_UP_AFTER,
                ),
                and_(
                    commitments.c.state == "reported",
                    commitments.c.answered_at > now - COMMITTED_FOR,
                ),
            ),
        )
    )
    uids = sorted({one[1] for items in asked for one in items})
    return any(
        connection.scalar(
            select(instances.c.id)
            .where(
                instances.c.study_id == study_id,
                instances.c.sop_instance_uid.in_(uids[at : at + _CHUNK]),
            )
            .limit(1)
        )
        is not None
        for at in range(0, len(uids), _CHUNK)
    )


_DELIVERED = DeliveryState.DELIVERED


def _versions() -> Select[Any]:
    return select(versions.c.id).where(versions.c.study_id == studies.c.id)


def _deliveries() -> Select[Any]:
    return _versions().join(deliveries, deliveries.c.version_id == versions.c.id)
