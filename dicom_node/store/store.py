"""The node's memory: what was received, made and delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, select, text, update

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.records import (
    ReceivedInstance,
)
from dicom_node.store import instances as _instances
from dicom_node.store import requeue as _requeue
from dicom_node.store import snapshot as _snapshot
from dicom_node.store import versions as _versions
from dicom_node.store.accesses import AccessStore
from dicom_node.store.catalogue import CatalogueStore
from dicom_node.store.commitment_requests import CommitmentRequestStore
from dicom_node.store.commitments import CommitmentStore
from dicom_node.store.corrections import CorrectionStore
from dicom_node.store.database import Database
from dicom_node.store.describe import look_at_study
from dicom_node.store.details import DetailStore
from dicom_node.store.events import record_event
from dicom_node.store.files import FileStore
from dicom_node.store.jobs import JobStore
from dicom_node.store.migration import check_tables, make_tables, migrate
from dicom_node.store.pages import PageStore
from dicom_node.store.parcels import OutboxStore
from dicom_node.store.remote_studies import RemoteStudyStore
from dicom_node.store.reports import ReportStore
from dicom_node.store.retention import RetentionStore
from dicom_node.store.retrievals import RetrievalStore
from dicom_node.store.schema import owner, studies
from dicom_node.store.switches import SwitchStore
from dicom_node.store.timeline import TimelineStore
from dicom_node.store.trail import TrailStore
from dicom_node.store.users import UserStore
from dicom_node.store.version_work import WorkStore
from dicom_node.store.workitems import WorkitemStore

__all__ = ["Store"]


class Store:
    """Instances, studies, versions, results, deliveries and events.

    Every method is one transaction; what it changed is durable when it returns.
    Any number of threads may use it.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of a SQLite file or a PostgreSQL database.

    Attributes
    ----------
    turn : Claim or None
        Which node works on the database; None on SQLite, where the lock of the data
        folder says so.
    data_dir : pathlib.Path or None
        Where the files lie, which a node that works on them says: an instance that was
        removed and comes again is refused where nobody has said it.

    Raises
    ------
    StoreError
        From every method, when the database cannot answer; nothing was changed.

    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.data_dir: Path | None = None
        self.catalogue = CatalogueStore(self._database)
        self.commitments = CommitmentStore(self._database)
        self.commitment_requests = CommitmentRequestStore(self._database)
        self.remotes = RemoteStudyStore(self._database)
        self.files = FileStore(self._database)
        self.outbox = OutboxStore(self._database)
        self.work = WorkStore(self._database)
        self.jobs = JobStore(self._database)
        self.retention = RetentionStore(self._database)
        self.retrievals = RetrievalStore(self._database)
        self.reports = ReportStore(self._database)
        self.switches = SwitchStore(self._database)
        self.users = UserStore(self._database)
        self.workitems = WorkitemStore(self._database)
        self.pages = PageStore(self._database)
        self.corrections = CorrectionStore(self._database)
        self.details = DetailStore(self._database)
        self.timeline = TimelineStore(self._database)
        self.turn = self._database.make_claim()
        self.accesses = AccessStore(self._database)
        self.trail = TrailStore(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        if self.turn is not None:
            self.turn.close()
        self._database.close()

    def migrate(self) -> None:
        """Bring the tables to the current schema, from nothing or an older one."""
        with self._database.write(is_patient=True) as connection:
            migrate(connection)

    def make_tables(self) -> str:
        """Make the tables where there are none; return their revision.

        Tables of an older version are left to the next start of the node.
        """
        with self._database.write(is_patient=True) as connection:
            return make_tables(connection)

    def require_tables(self) -> None:
        """Make the tables where there are none.

        Raises
        ------
        StoreError
            They are of an older or a newer version.

        """
        self.make_tables()
        self.check_tables()

    def check_tables(self) -> None:
        """Look at the tables and change nothing.

        Raises
        ------
        StoreError
            There are none, or those of another version.

        """
        with self._database.read() as connection:
            check_tables(connection)

    def claim(self, node_id: str) -> bool:
        """Make a node the database's owner; False: another one is.

        On PostgreSQL a new epoch begins: who wrote before, and still runs, can write no
        more.
        """
        with self._database.write() as connection:
            # One statement: of two nodes that start at once, one is the first.
            connection.execute(
                text(
                    "INSERT INTO owner (id, node_id) VALUES (1, :node_id) "
                    "ON CONFLICT (id) DO NOTHING"
                ),
                {"node_id": node_id},
            )
            if connection.scalar(select(owner.c.node_id)) != node_id:
                return False
            epoch = None if self.turn is None else self.turn.begin(connection)
        if self.turn is not None and epoch is not None:
            self.turn.hold(epoch)
            self._database.fence = self.turn.check
        return True

    @property
    def epoch(self) -> int | None:
        """Which node in the line of those that worked this one is; None on SQLite."""
        return None if self.turn is None else self.turn.epoch

    def check_claim(self) -> None:
        """Ask whether this process may still write: before an effect outside.

        Raises
        ------
        TakenOverError
            Another node works on the database now.

        """
        self._database.check()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written, by the last try; `prove` tries again."""
        return self._database.trouble

    def prove(self) -> int:
        """Write nothing, durably, if the last change was not made.

        Returns
        -------
        int
            How often the database could not answer so far.

        """
        if self._database.trouble is not None:
            with self._database.write():
                pass
        return self._database.failures

    def ping(self) -> None:
        """Ask the database for a sign of life."""
        with self._database.read() as connection:
            connection.execute(text("SELECT 1"))

    def record_instance(self, instance: ReceivedInstance) -> _instances.InstanceOutcome:
        """Record an instance whose file is durable; safe to acknowledge after it.

        The row of a new instance may need `settle` to be durable itself; until then a
        start after a power cut makes it again from the file (`reconcile`). What a file
        does not tell is durable at once: that it came again, or is a remote's answer.
        """
        is_fetched = self.retrievals.is_fetching(instance.study_instance_uid)
        is_told_by_file = True

        def record(connection: Connection) -> _instances.InstanceOutcome:
            nonlocal is_told_by_file
            study = look_at_study(connection, instance)
            is_told_by_file = study is None or study.known_id is None
            if study is None or study.remote_id or self.remotes.is_remote(instance):
                kept = self.remotes.keep_answer(connection, instance)
                if kept is not None:
                    is_told_by_file = False
                    return kept
            return _instances.insert_instance(
                connection,
                instance,
                study=study,
                is_fetched=is_fetched,
                data_dir=self.data_dir,
            )

        outcome = self._database.commit_together(record, is_told_by_files=True)
        if not is_told_by_file:
            self._database.settle()
        if outcome is _instances.InstanceOutcome.DUPLICATE:
            # It is kept, whether its event is or not: it must not seem refused.
            with suppress(StoreError):
                self.accesses.note(
                    EventKind.INSTANCE_REPEATED,
                    study_instance_uid=instance.study_instance_uid,
                    detail=_instances.sender_of(instance),
                    at=instance.received_at,
                )
        return outcome

    def settle(self) -> None:
        """Make the rows of instances durable that wait for no sync of their own.

        Raises
        ------
        StoreError
            The disk did not take them.

        """
        self._database.settle()

    def known_paths(self, paths: Iterable[str]) -> set[str]:
        """Return which of these paths, relative to the data folder, have a row."""
        with self._database.read() as connection:
            return _instances.known_paths(connection, paths)

    def recorded_files(
        self, *, after_id: int = 0, limit: int = 1000
    ) -> tuple[_instances.RecordedFile, ...]:
        """Return files that a row vouches for, from the row after ``after_id``."""
        with self._database.read() as connection:
            return tuple(
                _instances.recorded_files(connection, after_id=after_id, limit=limit)
            )

    def record_missing_file(self, file: _instances.RecordedFile) -> None:
        """Write an event about a lost file, once for each."""
        with self._database.write() as connection:
            _instances.record_missing_file(connection, file)

    def collecting_studies(self) -> tuple[_versions.CollectingStudy, ...]:
        """Return the studies that wait for a version or were asked for again."""
        with self._database.read() as connection:
            return _versions.collecting_studies(connection)

    def open_version(
        self,
        study_id: int,
        *,
        now: datetime,
        version_of: Callable[[Iterable[str]], str],
        counts_preliminary: bool = True,
    ) -> _versions.VersionKey | None:
        """Make a version of everything a study has; None when nothing is new."""
        with self._database.write() as connection:
            return _versions.open_version(
                connection,
                study_id,
                now=now,
                version_of=version_of,
                counts_preliminary=counts_preliminary,
            )

    def clear_request(self, study_id: int) -> None:
        """Note that a request for a study is being served."""
        with self._database.write() as connection:
            connection.execute(
                update(studies).where(studies.c.id == study_id).values(is_forced=False)
            )

    def last_reconciled(self) -> Mapping[str, int]:
        """Return what the last comparison of files and rows found; empty: none yet."""
        with self._database.read() as connection:
            return _snapshot.read_last_reconciled(connection)

    def requeue_study(
        self,
        study_instance_uid: str,
        *,
        destinations: Mapping[str, str],
        now: datetime | None = None,
    ) -> _requeue.RequeueOutcome:
        """Ask for a study again, for these destinations and their profiles.

        Raises
        ------
        StoreError
            No such study.

        """
        with self._database.write() as connection:
            return _requeue.requeue_study(
                connection,
                study_instance_uid,
                destinations=destinations,
                now=now or datetime.now(UTC),
            )

    def snapshot(self, *, limit: int = 1000) -> _snapshot.StatusSnapshot:
        """Return what the node has received, processed and delivered."""
        with self._database.read() as connection:
            return _snapshot.read_snapshot(connection, limit=limit)

    def counts(self) -> _snapshot.StoreCounts:
        """Return the numbers behind ``/metrics``."""
        with self._database.read() as connection:
            return _snapshot.read_counts(connection)

    def record_event(
        self,
        kind: EventKind,
        *,
        study_id: int | None = None,
        subject: str | None = None,
        detail: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> None:
        """Write an event that tells no change of another table."""
        with self._database.write() as connection:
            record_event(
                connection, kind, study_id=study_id, subject=subject, detail=detail
            )

    def study_id(self, study_instance_uid: str) -> int:
        """Return the row of a study.

        Raises
        ------
        StoreError
            No such study.

        """
        with self._database.read() as connection:
            found = connection.scalar(
                select(studies.c.id).where(
                    studies.c.study_instance_uid == study_instance_uid
                )
            )
        if found is None:
            msg = "no study with this UID was received"
            raise StoreError(msg, study_instance_uid=study_instance_uid)
        return int(found)
