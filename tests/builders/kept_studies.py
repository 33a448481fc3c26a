"""Studies in a store with their files: received, processed, delivered, kept or not."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from dicom_node.config import RetentionSettings
from dicom_node.records import ReceivedInstance
from dicom_node.retention import Retention
from dicom_node.spool import Spool
from dicom_node.store import AttemptOutcome, Store
from tests.builders.stores import NOON, received, result_object

__all__ = ["LATER", "Place"]

LATER = NOON + timedelta(days=30)
"""What the clock of a `Place` says."""


class Place:
    """A store, its files, and a clock that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.spool = Spool(self.data_dir, min_free_bytes=0)
        self.store = Store(f"sqlite:///{self.data_dir / 'node.sqlite'}")
        self.store.migrate()
        self.store.data_dir = self.data_dir
        self.now = LATER

    def retention(self, **settings: Any) -> Retention:
        return Retention(
            self.store,
            self.spool,
            settings=RetentionSettings(**settings),
            clock=lambda: self.now,
        )

    def store_file(self, number: int, **changes: Any) -> ReceivedInstance:
        """Put a file in place as the receiver does, without recording it."""
        data = f"image {number}".encode()
        sha256 = hashlib.sha256(data).hexdigest()
        writer = self.spool.open()
        writer.write(data)
        path = writer.commit(sha256)
        writer.keep()
        at = NOON.timestamp()  # its clock is not the machine's
        os.utime(self.data_dir / path, (at, at))
        values = {"sha256": sha256, "path": path, "size_bytes": len(data)}
        return received(number, **(values | changes))

    def receive(self, number: int, **changes: Any) -> ReceivedInstance:
        instance = self.store_file(number, **changes)
        self.store.record_instance(instance)
        return instance

    def process(self, *, at: datetime = NOON) -> int:
        """Make a version with one result of everything; return its row."""
        (study,) = self.store.collecting_studies()
        key = self.store.open_version(
            study.study_id,
            now=at,
            version_of=lambda hashes: hashlib.sha256(
                "".join(sorted(hashes)).encode()
            ).hexdigest(),
        )
        assert key is not None
        self.start(key.version_id, at=at)
        self.finish(key.version_id, at=at)
        return key.version_id

    def start(self, version_id: int, *, at: datetime = NOON, run: int = 1) -> None:
        assert (
            self.store.work.start_version(
                version_id, run=run, fingerprint="f", data_dir=self.data_dir, now=at
            )
            is not None
        )

    def finish(self, version_id: int, *, at: datetime = NOON, run: int = 1) -> None:
        folder = self.data_dir / "results" / str(version_id)
        self.store.work.finish_version(
            version_id,
            run=run,
            fingerprint="f",
            objects=[result_object(folder, version_id)],
            result_dir=folder,
            data_dir=self.data_dir,
            destinations={"pacs": "default"},
            now=at,
        )

    def deliver(self, *, at: datetime = NOON, is_delivered: bool = True) -> None:
        for parcel in self.store.outbox.pending_parcels():
            items = self.store.outbox.pending_items(
                parcel.version_id, parcel.destination, data_dir=self.data_dir
            )
            self.store.outbox.record_attempt(
                parcel,
                [AttemptOutcome(one.delivery_id, is_delivered, 0, "") for one in items],
                now=at,
                next_attempt_at=at,
            )

    def finish_study(self, *numbers: int, **changes: Any) -> list[Path]:
        paths = [self.receive(one, **changes).path for one in numbers or (1, 2)]
        self.process()
        self.deliver()
        return [self.data_dir / path for path in paths]

    def delete_files(self, study_id: int) -> bool:
        return self.store.files.delete_removed(
            study_id, self.spool.names, remove=self.retention()._delete
        )

    def set_rows(self, table: Any, **values: Any) -> None:
        with self.store._database.write() as connection:
            connection.execute(update(table).values(**values))

    def rows(self, table: Any) -> list[Any]:
        with self.store._database.read() as connection:
            return list(connection.execute(select(table)).all())
