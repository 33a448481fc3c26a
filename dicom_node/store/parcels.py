"""What destinations lack, and what they answered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from dicom_node.store import outbox as _outbox
from dicom_node.store.database import Database
from dicom_node.store.schema import DeliveryState

__all__ = ["OutboxStore"]


class OutboxStore:
    """Keeps what is to be sent, by version and destination.

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

    def pending_parcels(
        self,
        *,
        version_id: int | None = None,
        study_id: int | None = None,
        destination: str | None = None,
    ) -> tuple[_outbox.Parcel, ...]:
        """Return what is undelivered, by version and destination."""
        with self._database.read() as connection:
            return _outbox.parcels_in(
                connection,
                DeliveryState.PENDING,
                version_id=version_id,
                study_id=study_id,
                destination=destination,
            )

    def pending_items(
        self,
        version_id: int,
        destination: str,
        *,
        data_dir: Path,
        is_whole: bool = False,
    ) -> tuple[_outbox.OutboxItem, ...]:
        """Return the results of a version that a destination does not have yet.

        ``is_whole``: with those of the newest run that it has.
        """
        with self._database.read() as connection:
            return _outbox.pending_items(
                connection,
                version_id,
                destination,
                data_dir=data_dir,
                is_whole=is_whole,
            )

    def record_attempt(
        self,
        parcel: _outbox.Parcel,
        outcomes: Iterable[_outbox.AttemptOutcome],
        *,
        now: datetime,
        next_attempt_at: datetime,
        awaits_commitment: bool = False,
    ) -> None:
        """Record what a destination answered."""
        with self._database.write() as connection:
            _outbox.record_attempt(
                connection,
                parcel,
                outcomes,
                now=now,
                next_attempt_at=next_attempt_at,
                awaits_commitment=awaits_commitment,
            )

    def abandon_parcel(
        self, parcel: _outbox.Parcel, *, comment: str, now: datetime
    ) -> None:
        """Give up what can never be delivered."""
        with self._database.write() as connection:
            _outbox.abandon_parcel(connection, parcel, comment=comment, now=now)
