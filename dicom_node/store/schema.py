"""The tables: one schema on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import BigInteger, TypeDecorator

__all__ = [
    "DeliveryState",
    "StudyState",
    "UtcDateTime",
    "VersionState",
    "commitments",
    "corrections",
    "cursors",
    "deliveries",
    "events",
    "instances",
    "metadata",
    "owner",
    "remote_answers",
    "remote_studies",
    "reports",
    "results",
    "retrievals",
    "series",
    "studies",
    "switches",
    "users",
    "versions",
    "workitems",
]


class StudyState(StrEnum):
    """Where a study stands: its newest version's state, or why it has none."""

    IDLE = "idle"
    """Nothing to process: only our own results came."""
    COLLECTING = "collecting"
    """It has instances that are in no version yet."""
    READY = "ready"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    IGNORED = "ignored"
    """A rule says that it is not processed."""


class VersionState(StrEnum):
    """Where one content version of a study stands."""

    READY = "ready"
    """Complete, waiting for the worker."""
    PROCESSING = "processing"
    DONE = "done"
    """Its results are recorded; each delivery has a state of its own."""
    FAILED = "failed"
    """Given up; ``reason`` says why. It can be requeued."""
    SUPERSEDED = "superseded"
    """A newer version came before this one was processed."""
    IGNORED = "ignored"
    """A rule says that it is not processed; ``rule`` names it."""


class DeliveryState(StrEnum):
    """Where one result stands with one destination."""

    PENDING = "pending"
    STORED = "stored"
    """The destination took it and was asked to commit to it (PS3.4 J)."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up after seven days, or the destination was removed."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on both databases; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Convert to UTC, without the zone where the database cannot keep it."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Return it aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every constraint has a name, so that a migration can drop it."""


def _key() -> Column[Any]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _uid(name: str, **options: Any) -> Column[Any]:
    return Column(name, String(64), nullable=False, **options)


studies = Table(
    "studies",
    metadata,
    _key(),
    _uid("study_instance_uid", unique=True),
    Column("state", String(16), nullable=False),
    Column("is_forced", Boolean, nullable=False, default=False),
    Column("first_received_at", UtcDateTime, nullable=False),
    Column("last_received_at", UtcDateTime, nullable=False),
    Column("latest_version_id", Integer),
    Column("is_prior", Boolean, nullable=False, server_default=false()),
    Column("accession_number", String(64)),
    Column("patient_id", String(64)),
    Column("study_date", String(8)),
    Column("attributes", JSON),
    Column("removed_at", UtcDateTime),
    Index(None, "state", "last_received_at"),
    Index(None, "is_forced"),
    Index(None, "accession_number"),
    Index(None, "patient_id", "study_date"),
    Index(None, "last_received_at"),
    sqlite_autoincrement=True,
)
"""``latest_version_id`` is the newest version; ``is_forced`` asks to process now;
``is_prior``: it was fetched for comparison and is not processed unless asked for.
``attributes`` maps the keywords of `header.InstanceHeader.study` to values of the
first instance that had one; three of them are columns, to be searched.
``removed_at``: when retention deleted its images; empty again when new ones come."""

series = Table(
    "series",
    metadata,
    _key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    _uid("series_instance_uid"),
    Column("modality", String(16)),
    Column("attributes", JSON, nullable=False),
    UniqueConstraint("study_id", "series_instance_uid"),
    Index(None, "series_instance_uid"),
    sqlite_autoincrement=True,
)
"""The series of a study, those of returned results too; ``attributes`` as in
`studies`."""

instances = Table(
    "instances",
    metadata,
    _key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    _uid("series_instance_uid"),
    _uid("sop_instance_uid"),
    _uid("sop_class_uid"),
    _uid("transfer_syntax_uid"),
    Column("path", String(512), nullable=False),
    _uid("sha256"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("is_own_result", Boolean, nullable=False),
    Column("is_conflict", Boolean, nullable=False),
    Column("attributes", JSON),
    Column("removed_at", UtcDateTime),
    UniqueConstraint("sop_instance_uid", "sha256"),
    Index(None, "study_id", "id"),
    Index(None, "path"),
    # An identifier is never given twice: versions say "up to this instance".
    sqlite_autoincrement=True,
)
"""Every instance that was ever acknowledged. ``path`` is relative to the data
folder; ``is_conflict``: the UID was there before with other bytes. ``removed_at``:
retention deleted the file; sent again, it is kept again."""

versions = Table(
    "versions",
    metadata,
    _key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    _uid("content_version"),
    Column("predecessor_id", ForeignKey("versions.id")),
    Column("last_instance_id", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(1024)),
    Column("run", Integer, nullable=False),
    Column("predecessors", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("result_dir", String(512)),
    Column("report_ids", JSON),
    Column("rule", String(64)),
    Column("model", String(64)),
    Column("priority", String(16)),
    Column("priors", JSON),
    UniqueConstraint("study_id", "content_version"),
    Index(None, "state"),
    sqlite_autoincrement=True,
)
"""``run`` counts requests to process this version. ``predecessors`` maps a
fingerprint (model and configuration) to the result objects that its results
supersede: chosen once, so that a repeated run writes the same bytes.
``report_ids``: the reports that it counts, oldest first. ``rule``, ``model`` and
``priority`` say what was decided about it. ``priors`` are the earlier studies that it
is compared with, each with its newest instance and the reports that count: chosen
once, too."""

results = Table(
    "results",
    metadata,
    _key(),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    _uid("sop_instance_uid", unique=True),
    _uid("sop_class_uid"),
    _uid("series_instance_uid"),
    _uid("study_instance_uid"),
    _uid("transfer_syntax_uid"),
    Column("profile", String(32), nullable=False),
    Column("path", String(512), nullable=False),
    _uid("sha256"),
    Column("fingerprint", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Index(None, "version_id"),
    sqlite_autoincrement=True,
)
"""Result objects: one row per SOP Instance UID for ever; ``removed_at``: retention
deleted the file."""

deliveries = Table(
    "deliveries",
    metadata,
    _key(),
    Column("result_id", ForeignKey("results.id"), nullable=False),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("give_up_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("last_attempt_at", UtcDateTime),
    Column("last_status", Integer),
    Column("last_comment", String(256)),
    Column("delivered_at", UtcDateTime),
    Column("stored_at", UtcDateTime),
    Column("transaction_uid", String(64)),
    UniqueConstraint("result_id", "destination"),
    Index(None, "destination", "state"),
    Index(None, "version_id", "destination", "state"),
    sqlite_autoincrement=True,
)
"""The outbox. A crash between the receiver's success and our commit sends the same
UID and bytes once more; nothing else is ever sent twice."""

reports = Table(
    "reports",
    metadata,
    _key(),
    Column("channel", String(16), nullable=False),
    Column("sender", String(128), nullable=False),
    Column("identifier", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("study_instance_uid", String(64)),
    Column("accession_number", String(64)),
    Column("patient_id", String(64)),
    Column("other_patient_ids", JSON),
    Column("text", Text, nullable=False),
    _uid("sha256"),
    Column("received_at", UtcDateTime, nullable=False),
    Column("study_id", ForeignKey("studies.id")),
    Column("copy_of", Integer),
    Column("predecessor_id", ForeignKey("reports.id")),
    Column("is_current", Boolean, nullable=False),
    Index(None, "study_id", "id"),
    Index(None, "study_instance_uid"),
    Index(None, "accession_number"),
    Index(None, "channel", "sender", "identifier"),
    sqlite_autoincrement=True,
)
"""Reports that came by HL7, FHIR or REST. ``study_id`` is empty until its study is
here; ``is_current``: no later one replaced it. ``sha256`` covers text and status. A
report of several studies has a row for each: ``copy_of`` is the first of them."""

corrections = Table(
    "corrections",
    metadata,
    _key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    _uid("tracking_uid"),
    Column("action", String(16), nullable=False),
    Column("frames", JSON, nullable=False),
    Column("comment", String(1024), nullable=False),
    Column("person", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index(None, "study_id", "id"),
    sqlite_autoincrement=True,
)
"""What people said of regions: accepted, rejected, redrawn (``frames`` then holds
the new outline). Rows are only added; the newest about a region counts."""

commitments = Table(
    "commitments",
    metadata,
    _key(),
    _uid("transaction_uid"),
    Column("role", String(8), nullable=False),
    Column("peer", String(64), nullable=False),
    Column("items", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("detail", JSON, nullable=False),
    UniqueConstraint("role", "peer", "transaction_uid"),
    Index(None, "state"),
    sqlite_autoincrement=True,
)
"""Storage commitment (PS3.4 J): as ``scu`` of what we sent to a destination, as
``scp`` of what a peer sent to us and how it is told."""

workitems = Table(
    "workitems",
    metadata,
    _key(),
    _uid("workitem_uid", unique=True),
    _uid("transaction_uid"),
    Column("study_id", ForeignKey("studies.id")),
    Column("study_instance_uid", String(64)),
    Column("state", String(16), nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("detail", JSON, nullable=False),
    Index(None, "state"),
    Index(None, "study_id"),
    sqlite_autoincrement=True,
)
"""Work that was claimed from a UPS worklist (PS3.18 11)."""

users = Table(
    "users",
    metadata,
    _key(),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("session_epoch", Integer, nullable=False),
    sqlite_autoincrement=True,
)
"""Who may sign in. ``session_epoch`` grows when a password or role changes, and ends
the sessions before it."""

switches = Table(
    "switches",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("changed_by", String(64), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)
"""What an operator turned on or off while the node runs: ``paused``, ``draining``."""

retrievals = Table(
    "retrievals",
    metadata,
    _key(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    Column("run", Integer, nullable=False),
    Column("archive", String(64), nullable=False),
    Column("asked", Integer, nullable=False),
    Column("arrived", Integer, nullable=False),
    Column("missing", JSON, nullable=False),
    Column("reason", String(1024)),
    Column("ended_at", UtcDateTime, nullable=False),
    UniqueConstraint("version_id", "run", "archive"),
    Index(None, "study_id", "id"),
    sqlite_autoincrement=True,
)
"""What an archive was asked for before a run of a version was processed. ``missing``:
the instances that it announced and did not deliver, which are not asked for again
unless a person asks; ``reason``: why it was less than it announced."""

owner = Table(
    "owner",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("node_id", String(64), nullable=False),
    Column("epoch", Integer, nullable=False, server_default="0"),
)
"""The one data folder whose files the rows name. ``epoch`` grows with each node that
takes the work over; one that holds an older epoch may write no more."""

cursors = Table(
    "cursors",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
"""How far a reader of ``events`` has come: the last row that it has dealt with."""

remote_studies = Table(
    "remote_studies",
    metadata,
    _key(),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    Column("run", Integer, nullable=False),
    Column("remote", String(64), nullable=False),
    _uid("pseudonymous_study_uid", unique=True),
    Column("state", String(16), nullable=False),
    Column("sent_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("detail", JSON, nullable=False),
    UniqueConstraint("version_id", "run", "remote"),
    Index(None, "state"),
    sqlite_autoincrement=True,
)
"""Versions whose de-identified copy was sent to a remote model, under which study
UID, and whether its results have come back."""

remote_answers = Table(
    "remote_answers",
    metadata,
    _key(),
    Column("remote_study_id", ForeignKey("remote_studies.id")),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("path", String(255), nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Index(None, "remote_study_id"),
    Index(None, "sop_instance_uid"),
    sqlite_autoincrement=True,
)
"""What came back from remote models, in no study of the node's own. Without a remote
study: a remote sent what it was not asked for; it is kept and never read."""

events = Table(
    "events",
    metadata,
    _key(),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("study_id", ForeignKey("studies.id")),
    Column("subject", String(128)),
    Column("detail", JSON, nullable=False),
    Index(None, "study_id", "id"),
    Index(None, "kind", "id"),
    sqlite_autoincrement=True,
)
"""The audit trail, written in the transaction of the change it tells."""
