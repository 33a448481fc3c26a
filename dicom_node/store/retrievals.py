"""What archives were asked for, and what a study here can be compared with."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from dicom_node.audit import EventKind
from dicom_node.store.database import Database
from dicom_node.store.events import record_event
from dicom_node.store.schema import (
    StudyState,
    VersionState,
    instances,
    results,
    retrievals,
    series,
    studies,
    versions,
)
from dicom_node.store.versions import VersionKey

__all__ = ["KnownSeries", "KnownStudy", "Retrieval", "RetrievalStore"]


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """What a series that is here says of itself."""

    series_instance_uid: str
    modality: str
    body_part: str


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """A study as it is here; texts are empty where no instance says them."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    study_date: str
    """DA, YYYYMMDD."""
    series: tuple[KnownSeries, ...]
    sop_instance_uids: frozenset[str]
    """Every instance that is here, and every result that the node made of it."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How an archive answered for one run of a version."""

    archive: str
    asked: int
    """Instances that it announced and that were asked for."""
    arrived: int
    missing: tuple[str, ...]
    """SOP Instance UIDs that it announced and did not deliver."""
    reason: str
    """Why it was less than announced; empty: it was not."""


class RetrievalStore:
    """What was asked of archives.

    Parameters
    ----------
    database : Database
        Where it is kept, so that a restart knows. Every method raises StoreError
        when the database cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fetching_lock = threading.Lock()
        self._fetching: Counter[str] = Counter()

    def known(self, study_instance_uid: str) -> KnownStudy:
        """Return what is here of a study; an empty record where nothing is."""
        with self._database.read() as connection:
            study = connection.execute(
                select(studies).where(
                    studies.c.study_instance_uid == study_instance_uid
                )
            ).one_or_none()
            if study is None:
                return KnownStudy(study_instance_uid, "", "", "", (), frozenset())
            rows = connection.execute(
                select(series).where(series.c.study_id == study.id)
            ).all()
            made = select(results.c.sop_instance_uid).where(
                results.c.study_instance_uid == study_instance_uid
            )
            # Our own results are never asked for; what was removed is, where a study
            # is taken up again.
            here = select(instances.c.sop_instance_uid).where(
                instances.c.study_id == study.id, instances.c.removed_at.is_(None)
            )
            uids = frozenset(connection.scalars(here.union(made)))
        said = study.attributes or {}
        return KnownStudy(
            study_instance_uid=study_instance_uid,
            patient_id=said.get("PatientID", ""),
            issuer_of_patient_id=said.get("IssuerOfPatientID", ""),
            study_date=said.get("StudyDate", ""),
            series=tuple(
                KnownSeries(
                    row.series_instance_uid,
                    row.modality or "",
                    row.attributes.get("BodyPartExamined", ""),
                )
                for row in rows
            ),
            sop_instance_uids=uids,
        )

    def answered(self, key: VersionKey) -> frozenset[str]:
        """Return the archives that were asked for this run of a version."""
        with self._database.read() as connection:
            return frozenset(
                connection.scalars(
                    select(retrievals.c.archive).where(
                        retrievals.c.version_id == key.version_id,
                        retrievals.c.run == key.run,
                    )
                )
            )

    def missing(self, study_instance_uid: str, *, archive: str) -> frozenset[str]:
        """Return what an archive announced for a study and did not deliver."""
        with self._database.read() as connection:
            rows = connection.scalars(
                select(retrievals.c.missing)
                .join(studies, studies.c.id == retrievals.c.study_id)
                .where(
                    studies.c.study_instance_uid == study_instance_uid,
                    retrievals.c.archive == archive,
                )
            )
            return frozenset(uid for uids in rows for uid in uids)

    def record(self, key: VersionKey, retrieval: Retrieval, *, now: datetime) -> None:
        """Record how an archive answered, with its event; once for each run."""
        with self._database.write() as connection:
            study_id = connection.scalar(
                select(versions.c.study_id).where(versions.c.id == key.version_id)
            )
            known = connection.scalar(
                select(retrievals.c.id).where(
                    retrievals.c.version_id == key.version_id,
                    retrievals.c.run == key.run,
                    retrievals.c.archive == retrieval.archive,
                )
            )
            if known is not None:
                return
            connection.execute(
                insert(retrievals).values(
                    study_id=study_id,
                    version_id=key.version_id,
                    run=key.run,
                    archive=retrieval.archive,
                    asked=retrieval.asked,
                    arrived=retrieval.arrived,
                    missing=list(retrieval.missing),
                    reason=retrieval.reason[:1024] or None,
                    ended_at=now,
                )
            )
            if not retrieval.asked and not retrieval.reason:
                return  # it had nothing that is not here
            record_event(
                connection,
                EventKind.RETRIEVE_FAILED
                if retrieval.reason
                else EventKind.STUDY_RETRIEVED,
                at=now,
                study_id=study_id,
                subject=retrieval.archive,
                detail={
                    "asked": retrieval.asked,
                    "arrived": retrieval.arrived,
                    **({"reason": retrieval.reason} if retrieval.reason else {}),
                },
            )

    def of_study(self, study_instance_uid: str) -> tuple[Retrieval, ...]:
        """Return how archives answered for a study, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(retrievals)
                .join(studies, studies.c.id == retrievals.c.study_id)
                .where(studies.c.study_instance_uid == study_instance_uid)
                .order_by(retrievals.c.id)
            )
            return tuple(
                Retrieval(
                    row.archive,
                    row.asked,
                    row.arrived,
                    tuple(row.missing),
                    row.reason or "",
                )
                for row in rows
            )

    @contextmanager
    def fetching(self, study_instance_uid: str) -> Iterator[None]:
        """Say, for a block, that what comes of a study was asked for here.

        An earlier study of which something comes at another time came by itself, and
        is processed like any.
        """
        with self._fetching_lock:
            self._fetching[study_instance_uid] += 1
        try:
            yield
        finally:
            with self._fetching_lock:
                self._fetching[study_instance_uid] -= 1
                self._fetching += Counter()  # what nobody fetches is forgotten

    def is_fetching(self, study_instance_uid: str) -> bool:
        """Return whether a study is being fetched now."""
        with self._fetching_lock:
            return study_instance_uid in self._fetching

    def expect_prior(self, study_instance_uid: str, *, now: datetime) -> bool:
        """Note, before it arrives, that a study is fetched to compare with.

        A study of which images came by themselves stays as it is.

        Returns
        -------
        bool
            Whether what comes of it is kept and not processed.

        """
        with self._database.write() as connection:
            study = connection.execute(
                select(studies).where(
                    studies.c.study_instance_uid == study_instance_uid
                )
            ).one_or_none()
            if study is not None:
                if study.state == StudyState.IDLE and not study.is_prior:
                    # Only our own results of it came back so far.
                    connection.execute(
                        update(studies)
                        .where(studies.c.id == study.id)
                        .values(is_prior=True)
                    )
                    return True
                return bool(study.is_prior)
            connection.execute(
                insert(studies).values(
                    study_instance_uid=study_instance_uid,
                    state=StudyState.IDLE,
                    is_forced=False,
                    is_prior=True,
                    first_received_at=now,
                    last_received_at=now,
                )
            )
            return True

    def give_way(self, key: VersionKey, *, now: datetime) -> bool:
        """End a version for which more instances came before it was processed.

        Returns
        -------
        bool
            False: nothing came that a newer version would be made of.

        """
        with self._database.write() as connection:
            study = connection.execute(
                select(studies.c.id, studies.c.state).where(
                    studies.c.study_instance_uid == key.study_instance_uid
                )
            ).one()
            if study.state != StudyState.COLLECTING:
                return False
            asked = connection.scalar(
                select(versions.c.priority).where(versions.c.id == key.version_id)
            )
            if asked == "requested":  # so is the version that comes in its place
                connection.execute(
                    update(studies)
                    .where(studies.c.id == study.id)
                    .values(is_forced=True)
                )
            changed = connection.execute(
                update(versions)
                .where(
                    versions.c.id == key.version_id,
                    versions.c.run == key.run,
                    versions.c.state == VersionState.READY,
                )
                .values(state=VersionState.SUPERSEDED, finished_at=now)
                .returning(versions.c.id)
            ).one_or_none()
            if changed is not None:
                record_event(
                    connection,
                    EventKind.STUDY_SUPERSEDED,
                    at=now,
                    study_id=study.id,
                    subject=key.content_version,
                )
            return True

    def is_waiting(self, key: VersionKey, archives: Collection[str]) -> bool:
        """Return whether an archive is still to be asked for this run."""
        return bool(set(archives) - self.answered(key))
