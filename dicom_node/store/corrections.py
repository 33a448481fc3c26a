"""What people said of regions; rows are only added, the newest of a region counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select

from dicom_node.audit import EventKind
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.schema import corrections, studies, versions

__all__ = ["Correction", "CorrectionAction", "CorrectionStore", "RedrawnFrame"]


class CorrectionAction(StrEnum):
    """What a person did with a region."""

    ACCEPT = "accept"
    REJECT = "reject"
    REDRAW = "redraw"


@dataclass(frozen=True, slots=True)
class RedrawnFrame:
    """The new outline on one frame."""

    frame: int
    """Index in the series' order, from 0."""
    runs: tuple[int, ...]
    """Start, length, start, length ... of set pixels, row by row."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person said of a region of one content version."""

    id: int
    content_version: str
    tracking_uid: str
    action: CorrectionAction
    frames: tuple[RedrawnFrame, ...]
    comment: str
    person: str
    at: datetime


class CorrectionStore:
    """Corrections by study.

    Parameters
    ----------
    database : Database
        Where they are kept.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        version_id: int,
        tracking_uid: str,
        *,
        action: CorrectionAction,
        person: str,
        frames: Sequence[RedrawnFrame] = (),
        comment: str = "",
        now: datetime | None = None,
    ) -> int:
        """Keep what a person says of a region; the machine's results stay as they are.

        Parameters
        ----------
        version_id : int
            The version whose region it is.
        tracking_uid : str
            The region.
        action : CorrectionAction
            What they did.
        person : str
            Who they are.
        frames : sequence of RedrawnFrame
            The new outline, checked before.
        comment : str
            What they say; it stays in this table.
        now : datetime, optional
            The moment.

        Raises
        ------
        StoreError
            The database could not answer; nothing was kept.

        """
        moment = now or datetime.now(UTC)
        with self._database.write() as connection:
            study_id = connection.scalar(
                select(versions.c.study_id).where(versions.c.id == version_id)
            )
            key = connection.execute(
                insert(corrections).values(
                    study_id=study_id,
                    version_id=version_id,
                    tracking_uid=tracking_uid,
                    action=action,
                    frames=[
                        {"frame": one.frame, "runs": list(one.runs)} for one in frames
                    ],
                    comment=comment[:1024],
                    person=person[:64],
                    at=moment,
                )
            ).inserted_primary_key
            record_event(
                connection,
                EventKind.REGION_CORRECTED,
                at=moment,
                study_id=study_id,
                subject=tracking_uid,
                detail={"action": action, "person": person[:64]},
            )
        return int(key[0])  # type: ignore[index]

    def of_study(self, study_instance_uid: str) -> tuple[Correction, ...]:
        """Return a study's corrections, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(corrections, versions.c.content_version)
                .join(studies, studies.c.id == corrections.c.study_id)
                .join(versions, versions.c.id == corrections.c.version_id)
                .where(studies.c.study_instance_uid == study_instance_uid)
                .order_by(corrections.c.id)
            ).all()
        return tuple(_correction(row) for row in rows)

    def by_study(
        self, *, since: datetime | None = None
    ) -> dict[str, tuple[Correction, ...]]:
        """Return all corrections by Study Instance UID, the oldest first.

        Parameters
        ----------
        since : datetime, optional
            Only studies with a correction at or after it; all of theirs are returned.

        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(
                    corrections,
                    versions.c.content_version,
                    studies.c.study_instance_uid,
                )
                .join(studies, studies.c.id == corrections.c.study_id)
                .join(versions, versions.c.id == corrections.c.version_id)
                .order_by(corrections.c.id)
            ).all()
        found: dict[str, list[Correction]] = {}
        for row in rows:
            found.setdefault(row.study_instance_uid, []).append(_correction(row))
        return {
            uid: tuple(said)
            for uid, said in found.items()
            if since is None or max(one.at for one in said) >= since
        }


def _correction(row: Row[Any]) -> Correction:
    return Correction(
        id=row.id,
        content_version=row.content_version,
        tracking_uid=row.tracking_uid,
        action=CorrectionAction(row.action),
        frames=tuple(
            RedrawnFrame(one["frame"], tuple(one["runs"])) for one in row.frames
        ),
        comment=row.comment,
        person=row.person,
        at=row.at,
    )
