"""The work on versions: which wait, and how each is taken up, decided and ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from dicom_node.records import ObjectReference, ResultObject, StoredInstance
from dicom_node.store import decisions as _decisions
from dicom_node.store import results as _results
from dicom_node.store import versions as _versions
from dicom_node.store import waiting as _waiting
from dicom_node.store import work as _work
from dicom_node.store.database import Database

__all__ = ["WorkStore"]


class WorkStore:
    """Takes versions up and records what becomes of them.

    Every method is one transaction; what it changed is durable when it returns.

    Parameters
    ----------
    database : Database
        Where the tables are.

    Raises
    ------
    StoreError
        From every method, when the database cannot answer; nothing was changed.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unfinished_versions(self) -> tuple[_versions.VersionKey, ...]:
        """Return the versions that wait for a worker or were with one."""
        with self._database.read() as connection:
            return _versions.unfinished_versions(connection)

    def study_of(self, version_id: int) -> int:
        """Return the number of a version's study."""
        with self._database.read() as connection:
            return _versions.study_of(connection, version_id)

    def version_instances(
        self, version_id: int, *, data_dir: Path
    ) -> tuple[StoredInstance, ...]:
        """Return what a version holds, without taking it into work."""
        with self._database.read() as connection:
            return _work.version_instances(connection, version_id, data_dir=data_dir)

    def version_size(self, version_id: int) -> _work.VersionSize | None:
        """Return how large a version is; None: there is none of this number."""
        with self._database.read() as connection:
            return _work.version_size(connection, version_id)

    def decision(self, version_id: int) -> _decisions.RecordedDecision | None:
        """Return what was decided about a version; None: nothing yet."""
        with self._database.read() as connection:
            return _decisions.read_decision(connection, version_id)

    def requested_versions(self) -> frozenset[int]:
        """Return which of the versions that wait a person asked for."""
        with self._database.read() as connection:
            return _decisions.requested_versions(connection)

    def record_decision(
        self,
        version_id: int,
        *,
        run: int,
        decision: _decisions.RecordedDecision,
        is_processed: bool,
        now: datetime,
    ) -> None:
        """Record a decision; a version that is not to be processed ends here."""
        with self._database.write() as connection:
            _decisions.record_decision(
                connection,
                version_id,
                run=run,
                decision=decision,
                is_processed=is_processed,
                now=now,
            )

    def start_version(
        self,
        version_id: int,
        *,
        run: int,
        fingerprint: str,
        data_dir: Path,
        now: datetime,
        counts_preliminary: bool = True,
    ) -> _work.Work | None:
        """Take a version into work; None when there is nothing to do for this run."""
        with self._database.write() as connection:
            return _work.start_version(
                connection,
                version_id,
                run=run,
                fingerprint=fingerprint,
                data_dir=data_dir,
                now=now,
                counts_preliminary=counts_preliminary,
            )

    def supersede_results(
        self,
        version_id: int,
        *,
        run: int,
        fingerprint: str,
        sop_instance_uids: Sequence[str],
    ) -> tuple[ObjectReference, ...] | None:
        """Choose anew what a run supersedes that did not come out as the one before.

        None: its objects name that already, or are those of the run before.
        """
        with self._database.write() as connection:
            return _work.supersede_results(
                connection,
                version_id,
                run=run,
                fingerprint=fingerprint,
                sop_instance_uids=sop_instance_uids,
            )

    def fail_version(
        self, version_id: int, *, run: int, reason: str, now: datetime
    ) -> None:
        """Give a version up; it stays visible and can be requeued."""
        with self._database.write() as connection:
            _work.fail_version(connection, version_id, run=run, reason=reason, now=now)

    def note_waiting(self, version_id: int, *, run: int, reason: str) -> None:
        """Say why a version is not processed yet; its state does not change."""
        with self._database.write() as connection:
            _waiting.note_waiting(connection, version_id, run=run, reason=reason)

    def requeue_failed(self, *, reason_prefix: str, now: datetime) -> tuple[str, ...]:
        """Ask again for the studies that failed for such a reason; return them."""
        with self._database.write() as connection:
            return _waiting.requeue_failed(
                connection, reason_prefix=reason_prefix, now=now
            )

    def named_results(self, folders: Iterable[str]) -> set[str]:
        """Return which folders, relative to the data folder, results lie in."""
        with self._database.read() as connection:
            return _results.named_results(connection, folders)

    def runs(self) -> tuple[_versions.VersionKey, ...]:
        """Return every run of every version so far, whatever became of it."""
        with self._database.read() as connection:
            return tuple(_versions.all_runs(connection))

    def finish_version(
        self,
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

        Returns the folders of an earlier run that no row names any more; None: this
        run was superseded and nothing was recorded.
        """
        with self._database.write() as connection:
            return _results.finish_version(
                connection,
                version_id,
                run=run,
                fingerprint=fingerprint,
                objects=objects,
                result_dir=result_dir,
                data_dir=data_dir,
                destinations=destinations,
                now=now,
                reason=reason,
            )
