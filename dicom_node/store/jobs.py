"""Jobs for worker processes, as the node sees them: asked for, looked at, forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, exists, func, not_, select, text, update

from dicom_node.store.database import Database
from dicom_node.store.schema import JobState, VersionState, jobs, studies, versions

__all__ = ["CHANNEL", "MOST_LOSSES", "WORKER_PREFIX", "Job", "JobOutcome", "JobStore"]

CHANNEL = "dicom_node_jobs"
"""Where PostgreSQL tells that a job was opened or has ended (NOTIFY)."""

MOST_LOSSES = 3
"""A job over which so many workers were lost is given up: it may be what ends them."""

WORKER_PREFIX = "dicom-node work "
"""How the sessions of workers are named; the begin of their fingerprint follows."""

_LAPSED = jobs.c.lease_until < func.now()


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work for a worker process.

    Attributes
    ----------
    job_id : str
        Hash of all the others: the same is never asked twice.
    fingerprint : str
        What a worker must be to do it: model, program and settings.
    study_instance_uid, content_version : str
        The version that it is for.
    request : mapping
        What is to be done, as JSON.

    """

    job_id: str
    fingerprint: str
    study_instance_uid: str
    content_version: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """Where a job stands."""

    state: JobState
    result: Mapping[str, Any] | None
    error: str | None
    reason: str | None
    generation: int
    """Which try at it that is."""


class JobStore:
    """The jobs of this node; on PostgreSQL only.

    Parameters
    ----------
    database : Database
        Where they are kept. Every method raises StoreError when it cannot answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, job: Job) -> None:
        """Ask for a job; one that is asked for, runs or is done stays as it is."""
        # Imported here: a node on SQLite starts without it.
        from sqlalchemy.dialects.postgresql import insert

        values = {
            "state": JobState.OPEN,
            "losses": 0,
            "worker": None,
            "lease_until": None,
            "result": None,
            "error": None,
            "reason": None,
            "created_at": func.now(),
            "started_at": None,
            "ended_at": None,
        }
        with self._database.write() as connection:
            connection.execute(
                insert(jobs)
                .values(
                    id=job.job_id,
                    fingerprint=job.fingerprint,
                    study_instance_uid=job.study_instance_uid,
                    content_version=job.content_version,
                    request=dict(job.request),
                    generation=0,
                    **values,
                )
                .on_conflict_do_update(
                    index_elements=[jobs.c.id],
                    set_=values,
                    where=jobs.c.state == JobState.FAILED,
                )
            )
            connection.execute(select(func.pg_notify(CHANNEL, "open")))

    def reopen(self, job_id: str) -> None:
        """Ask again for a job whose results are not what the worker said."""
        with self._database.write() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state == JobState.DONE)
                .values(state=JobState.OPEN, result=None, ended_at=None)
            )
            connection.execute(select(func.pg_notify(CHANNEL, "open")))

    def outcome(self, job_id: str) -> JobOutcome | None:
        """Return where a job stands; None: nobody asks for it any more.

        A job over which `MOST_LOSSES` workers were lost fails by this look.
        """
        columns = (
            jobs.c.state,
            jobs.c.result,
            jobs.c.error,
            jobs.c.reason,
            jobs.c.generation,
        )
        with self._database.read() as connection:
            row = connection.execute(
                select(*columns, _given_up()).where(jobs.c.id == job_id)
            ).one_or_none()
        if row is not None and row[-1]:
            with self._database.write() as connection:
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id, _given_up())
                    .values(
                        state=JobState.FAILED,
                        losses=jobs.c.losses + 1,
                        error="JobFailedError",
                        reason=f"{MOST_LOSSES} workers were lost over this study",
                        ended_at=func.now(),
                    )
                )
                row = connection.execute(
                    select(*columns, _given_up()).where(jobs.c.id == job_id)
                ).one_or_none()
        if row is None:
            return None
        return JobOutcome(JobState(row[0]), row[1], row[2], row[3], row[4])

    def forget(self) -> tuple[Mapping[str, Any], ...]:
        """Delete the jobs whose version waits for nothing; return what they asked.

        One whose run was superseded ends with its version; a worker that has it
        finds its lease lost.
        """
        wanted = exists().where(
            studies.c.study_instance_uid == jobs.c.study_instance_uid,
            versions.c.study_id == studies.c.id,
            versions.c.content_version == jobs.c.content_version,
            versions.c.state.in_([VersionState.READY, VersionState.PROCESSING]),
        )
        with self._database.read() as connection:
            is_any = connection.scalar(select(jobs.c.id).where(not_(wanted)).limit(1))
        if is_any is None:
            return ()
        with self._database.write() as connection:
            rows = connection.execute(
                delete(jobs).where(not_(wanted)).returning(jobs.c.id, jobs.c.request)
            )
            return tuple({"job_id": row.id, **row.request} for row in rows)

    def requests(self) -> Iterator[Mapping[str, Any]]:
        """Yield what all jobs ask for, each with its ``job_id``."""
        with self._database.read() as connection:
            for row in connection.execute(select(jobs.c.id, jobs.c.request)):
                yield {"job_id": row.id, **row.request}

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._database.read() as connection:
            found: dict[str, int] = {
                row[0]: row[1]
                for row in connection.execute(
                    select(jobs.c.state, func.count()).group_by(jobs.c.state)
                )
            }
        return {state.value: found.get(state.value, 0) for state in JobState}

    def workers(self) -> tuple[str, ...]:
        """Return the begin of the fingerprint of each worker that is connected."""
        # A session ends with its process: no row of ours could say it as surely.
        with self._database.read() as connection:
            names = connection.scalars(
                text(
                    "SELECT application_name FROM pg_stat_activity "
                    "WHERE datname = current_database() "
                    "AND starts_with(application_name, :prefix)"
                ),
                {"prefix": WORKER_PREFIX},
            )
            return tuple(name.removeprefix(WORKER_PREFIX) for name in names)


def _given_up() -> Any:
    return and_(
        jobs.c.state == JobState.RUNNING, _LAPSED, jobs.c.losses + 1 >= MOST_LOSSES
    )
