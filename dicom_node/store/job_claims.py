"""Jobs as a worker process sees them: claimed for a while, renewed, and ended.

A claim is a lease: it lapses by the server's clock unless the worker gives signs of
life, and the job is then anybody's. Each claim has a number of its own, and what ends
the job asks for that number and for a lease that has not lapsed in the same statement:
a worker that was stopped for a while and goes on cannot end what is another's.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import psycopg
from sqlalchemy import URL, and_, func, or_, select, update
from sqlalchemy.dialects import registry
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import LeaseLostError, SettingsError, StoreError
from dicom_node.store.engines import database_url
from dicom_node.store.jobs import CHANNEL, MOST_LOSSES, WORKER_PREFIX
from dicom_node.store.migration import REVISION, read_revision
from dicom_node.store.patience import CONNECT_ARGUMENTS, make_server_engine
from dicom_node.store.schema import JobState, jobs

__all__ = [
    "FINGERPRINT_DIGITS",
    "Claimed",
    "JobClaims",
    "JobListener",
    "session_name",
]

FINGERPRINT_DIGITS = 16
"""So much of a fingerprint fits into the name of a session."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that a worker has, until its lease lapses."""

    job_id: str
    generation: int
    """Counts who had it."""
    fingerprint: str
    study_instance_uid: str
    request: Mapping[str, Any]


class JobClaims:
    """A worker's way to the jobs; it writes no other table.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of the node's PostgreSQL database.
    worker : str
        Names the worker, in the table and nowhere else.
    lease_s : float
        How long a claim holds without a sign of life.

    Raises
    ------
    SettingsError
        The database is not PostgreSQL.
    StoreError
        From every method, when the database cannot answer.

    """

    def __init__(self, url: str, worker: str, *, lease_s: float) -> None:
        self.url = database_url(url)
        if self.url.get_backend_name() != "postgresql":
            msg = (
                "node.database_url: workers take their work from a PostgreSQL database"
            )
            raise SettingsError(msg)
        self._worker = worker
        self._lease = timedelta(seconds=lease_s)
        self._engine = make_server_engine(self.url, pool_size=2, max_overflow=2)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def check(self) -> None:
        """See whether the tables are those of this program.

        Raises
        ------
        SettingsError
            A node of another version keeps them.

        """
        try:
            with self._engine.connect() as connection:
                found = read_revision(connection)
        except SQLAlchemyError as error:
            raise _away(error) from error
        if found != REVISION:
            msg = (
                f"the database has the tables of another version ({found}, this one "
                f"knows {REVISION}): node and workers must be of the same version"
            )
            raise SettingsError(msg)

    def claim(self, fingerprints: Collection[str]) -> Claimed | None:
        """Take the job that waits longest; None: there is none for this worker.

        Parameters
        ----------
        fingerprints : collection of str
            What this worker is; jobs for others are left.

        """
        is_lapsed = and_(
            jobs.c.state == JobState.RUNNING, jobs.c.lease_until < func.now()
        )
        first = (
            select(jobs.c.id)
            .where(
                jobs.c.fingerprint.in_(fingerprints),
                or_(
                    jobs.c.state == JobState.OPEN,
                    and_(is_lapsed, jobs.c.losses + 1 < MOST_LOSSES),
                ),
            )
            .order_by(jobs.c.created_at, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        try:
            with self._engine.begin() as connection:
                found = connection.execute(
                    first.add_columns(jobs.c.state)
                ).one_or_none()
                if found is None:
                    return None
                row = connection.execute(
                    update(jobs)
                    .where(jobs.c.id == found.id)
                    .values(
                        state=JobState.RUNNING,
                        generation=jobs.c.generation + 1,
                        losses=jobs.c.losses + int(found.state == JobState.RUNNING),
                        worker=self._worker,
                        lease_until=func.now() + self._lease,
                        started_at=func.now(),
                    )
                    .returning(jobs)
                ).one()
        except SQLAlchemyError as error:
            raise _away(error) from error
        return Claimed(
            row.id, row.generation, row.fingerprint, row.study_instance_uid, row.request
        )

    def others_wait(self, fingerprints: Collection[str]) -> bool:
        """Whether jobs wait that need another version, model or settings."""
        try:
            with self._engine.connect() as connection:
                found = connection.scalar(
                    select(jobs.c.id)
                    .where(
                        jobs.c.state == JobState.OPEN,
                        jobs.c.fingerprint.not_in(fingerprints),
                    )
                    .limit(1)
                )
        except SQLAlchemyError as error:
            raise _away(error) from error
        return found is not None

    def renew(self, claimed: Claimed) -> None:
        """Give a sign of life.

        Raises
        ------
        LeaseLostError
            It came too late.

        """
        self._change(claimed, lease_until=func.now() + self._lease)

    def complete(self, claimed: Claimed, result: Mapping[str, Any]) -> None:
        """Say what came of a job.

        Raises
        ------
        LeaseLostError
            It is another worker's, or nobody's; nothing was said.

        """
        self._end(claimed, state=JobState.DONE, result=dict(result))

    def fail(
        self,
        claimed: Claimed,
        *,
        error: str,
        reason: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Say why nothing came of it.

        Parameters
        ----------
        claimed : Claimed
            The job.
        error : str
            The class of what went wrong.
        reason : str
            In plain words, free of patient data.
        detail : mapping, optional
            What the node should see to.

        Raises
        ------
        LeaseLostError
            It is another worker's, or nobody's; nothing was said.

        """
        self._end(
            claimed,
            state=JobState.FAILED,
            error=error[:64],
            reason=reason[:1024],
            result=None if detail is None else dict(detail),
        )

    def give_back(self, claimed: Claimed) -> None:
        """Let another worker have it at once.

        Raises
        ------
        LeaseLostError
            Another has it already, or nobody wants it.

        """
        self._change(claimed, state=JobState.OPEN, lease_until=None, tells=True)

    def _end(self, claimed: Claimed, **values: Any) -> None:
        self._change(
            claimed, lease_until=None, ended_at=func.now(), tells=True, **values
        )

    def _change(self, claimed: Claimed, *, tells: bool = False, **values: Any) -> None:
        try:
            with self._engine.begin() as connection:
                changed = connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.id == claimed.job_id,
                        jobs.c.generation == claimed.generation,
                        jobs.c.state == JobState.RUNNING,
                        jobs.c.lease_until >= func.now(),
                    )
                    .values(**values)
                )
                if changed.rowcount == 1 and tells:
                    connection.execute(select(func.pg_notify(CHANNEL, "ended")))
        except SQLAlchemyError as error:
            raise _away(error) from error
        if changed.rowcount != 1:
            raise LeaseLostError


class JobListener:
    """Hears that a job was opened or has ended; a poll sees what is not heard.

    Parameters
    ----------
    url : sqlalchemy.URL
        The database; connected to directly, not by a pooler of transactions.
    name : str
        What the server's list of sessions calls it.

    """

    def __init__(self, url: URL, *, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: psycopg.Connection[Any] | None = None
        self._is_closed = threading.Event()

    @classmethod
    def of(cls, url: str, *, name: str) -> Self:
        """Make a listener from the settings' URL."""
        return cls(database_url(url), name=name)

    def wait(self, seconds: float) -> bool:
        """Wait until something is told, so long at most; return whether it was."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                return True
        except (psycopg.Error, OSError):
            # Whoever asks for a job hears why, and tells it.
            self.close()
            self._is_closed.wait(seconds)
        return False

    def close(self) -> None:
        """Close the connection; `wait` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        dialect = registry.load("postgresql.psycopg")()
        _, parameters = dialect.create_connect_args(self._url)
        named = {**parameters, **CONNECT_ARGUMENTS, "application_name": self._name}
        connection = psycopg.connect(**named, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection


def session_name(fingerprint: str) -> str:
    """Name a worker's session, so that the node sees it and what it is."""
    return f"{WORKER_PREFIX}{fingerprint[:FINGERPRINT_DIGITS]}"


def _away(error: SQLAlchemyError) -> StoreError:
    # The driver's message quotes parameters: only its class is told.
    cause = getattr(error, "orig", None) or error
    msg = f"the database could not answer ({type(cause).__name__})"
    return StoreError(msg, is_away=True)
