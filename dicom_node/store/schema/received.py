"""What came in: studies, series, instances, reports, and what was asked for."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from dicom_node.store.schema.columns import (
    UtcDateTime,
    key_column,
    metadata,
    uid_column,
)

__all__ = [
    "instances",
    "reports",
    "retrievals",
    "series",
    "studies",
    "workitems",
]


studies = Table(
    "studies",
    metadata,
    key_column(),
    uid_column("study_instance_uid", unique=True),
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
    Index(
        "ix_studies_forced",
        "is_forced",
        # On PostgreSQL as well, by its migration: an argument of that dialect would
        # load it at every start.
        sqlite_where=text("is_forced IS 1"),
    ),
    Index(None, "accession_number"),
    Index(None, "patient_id", "study_date"),
    Index(None, "last_received_at"),
    Index(None, "study_date"),
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
    key_column(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    uid_column("series_instance_uid"),
    Column("modality", String(16)),
    Column("attributes", JSON, nullable=False),
    UniqueConstraint("study_id", "series_instance_uid"),
    Index(None, "series_instance_uid"),
    Index(None, "modality", "study_id"),
    sqlite_autoincrement=True,
)
"""The series of a study, those of returned results too; ``attributes`` as in
`studies`."""

instances = Table(
    "instances",
    metadata,
    key_column(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    uid_column("series_instance_uid"),
    uid_column("sop_instance_uid"),
    uid_column("sop_class_uid"),
    uid_column("transfer_syntax_uid"),
    Column("path", String(512), nullable=False),
    uid_column("sha256"),
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

reports = Table(
    "reports",
    metadata,
    key_column(),
    Column("channel", String(16), nullable=False),
    Column("sender", String(128), nullable=False),
    Column("identifier", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("study_instance_uid", String(64)),
    Column("accession_number", String(64)),
    Column("patient_id", String(64)),
    Column("other_patient_ids", JSON),
    Column("text", Text, nullable=False),
    uid_column("sha256"),
    Column("received_at", UtcDateTime, nullable=False),
    Column("study_id", ForeignKey("studies.id")),
    Column("copy_of", Integer),
    Column("predecessor_id", ForeignKey("reports.id")),
    Column("is_current", Boolean, nullable=False),
    Column("removed_at", UtcDateTime),
    Column("waits", Boolean, nullable=False, server_default=false()),
    Index(None, "study_id", "id"),
    Index(
        "ix_reports_waiting",
        "waits",
        "id",
        sqlite_where=text("waits IS 1"),  # on PostgreSQL as above
    ),
    Index(None, "study_instance_uid"),
    Index(None, "accession_number"),
    Index(None, "channel", "sender", "identifier"),
    sqlite_autoincrement=True,
)
"""Reports that came by HL7, FHIR or REST. ``study_id`` is empty until its study is
here; ``is_current``: no later one replaced it. ``sha256`` covers text and status. A
report of several studies has a row for each: ``copy_of`` is the first of them.
``removed_at``: retention deleted the text. ``waits``: it is current, and its study or
the study's first image is not here; triggers keep it (migration 0009), so that every
change of a report or an instance counts, whoever makes it."""

retrievals = Table(
    "retrievals",
    metadata,
    key_column(),
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

workitems = Table(
    "workitems",
    metadata,
    key_column(),
    uid_column("workitem_uid", unique=True),
    uid_column("transaction_uid"),
    Column("study_id", ForeignKey("studies.id")),
    Column("study_instance_uid", String(64)),
    Column("state", String(16), nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("detail", JSON, nullable=False),
    Index(None, "state"),
    Index(None, "study_id"),
    Index(None, "study_instance_uid"),
    sqlite_autoincrement=True,
)
"""Work that was claimed from a UPS worklist (PS3.18 11)."""
