"""What the node made of it: versions, jobs, results, deliveries, and what is remote."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from dicom_node.store.schema.columns import (
    UtcDateTime,
    key_column,
    metadata,
    uid_column,
)

__all__ = [
    "commitments",
    "deliveries",
    "jobs",
    "remote_answers",
    "remote_studies",
    "results",
    "versions",
]


versions = Table(
    "versions",
    metadata,
    key_column(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    uid_column("content_version"),
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
    Column("removed_at", UtcDateTime),
    UniqueConstraint("study_id", "content_version"),
    Index(None, "state"),
    Index(
        "ix_versions_with_reason",
        "state",
        # On PostgreSQL as well, by its migration; see `received.studies`.
        sqlite_where=text("reason IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
"""``run`` counts requests to process this version. ``predecessors`` maps a
fingerprint (model and configuration) to the result objects that its results
supersede: chosen once, so that a repeated run writes the same bytes.
``report_ids``: the reports that it counts, oldest first. ``rule``, ``model`` and
``priority`` say what was decided about it. ``priors`` are the earlier studies that it
is compared with, each with its newest instance and the reports that count: chosen
once, too. ``removed_at``: retention deleted the folder of its results."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("fingerprint", String(128), nullable=False),
    uid_column("study_instance_uid"),
    uid_column("content_version"),
    Column("request", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("worker", String(128)),
    Column("lease_until", UtcDateTime),
    Column("result", JSON),
    Column("error", String(64)),
    Column("reason", String(1024)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Index(None, "state", "created_at"),
)
"""Work for worker processes, on PostgreSQL; the only table that they write. ``id`` is
the hash of what is asked, so that the same is never asked twice. ``generation`` counts
who took it, ``losses`` those of them whose lease lapsed; times are the server's."""

results = Table(
    "results",
    metadata,
    key_column(),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    uid_column("sop_instance_uid", unique=True),
    uid_column("sop_class_uid"),
    uid_column("series_instance_uid"),
    uid_column("study_instance_uid"),
    uid_column("transfer_syntax_uid"),
    Column("profile", String(32), nullable=False),
    Column("path", String(512), nullable=False),
    uid_column("sha256"),
    Column("size_bytes", BigInteger),
    Column("fingerprint", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Index(None, "version_id"),
    Index(None, "sop_class_uid"),
    sqlite_autoincrement=True,
)
"""Result objects: one row per SOP Instance UID for ever; ``removed_at``: retention
deleted the file."""

deliveries = Table(
    "deliveries",
    metadata,
    key_column(),
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
    Index(None, "state", "destination"),
    Index(None, "version_id", "destination", "state"),
    sqlite_autoincrement=True,
)
"""The outbox. A crash between the receiver's success and our commit sends the same
UID and bytes once more; nothing else is ever sent twice."""

commitments = Table(
    "commitments",
    metadata,
    key_column(),
    uid_column("transaction_uid"),
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

remote_studies = Table(
    "remote_studies",
    metadata,
    key_column(),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    Column("run", Integer, nullable=False),
    Column("remote", String(64), nullable=False),
    uid_column("pseudonymous_study_uid", unique=True),
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
    key_column(),
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
