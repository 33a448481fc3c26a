"""What the node keeps about itself: people, switches, its trail and who reads it."""

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
)

from dicom_node.store.schema.columns import (
    UtcDateTime,
    key_column,
    metadata,
    uid_column,
)

__all__ = [
    "corrections",
    "cursors",
    "events",
    "owner",
    "switches",
    "tallies",
    "users",
]


corrections = Table(
    "corrections",
    metadata,
    key_column(),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("version_id", ForeignKey("versions.id"), nullable=False),
    uid_column("tracking_uid"),
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

users = Table(
    "users",
    metadata,
    key_column(),
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

owner = Table(
    "owner",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("node_id", String(64), nullable=False),
    Column("epoch", Integer, nullable=False, server_default="0"),
)
"""The one data folder whose files the rows name. ``epoch`` grows with each node that
takes the work over; one that holds an older epoch may write no more."""

tallies = Table(
    "tallies",
    metadata,
    Column("of_table", String(32), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("destination", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)
"""How many rows studies, versions, deliveries, instances and results have, kept by
triggers: to count a million takes too long. ``state`` of the last two is ``kept`` or
``removed``; ``destination`` is empty but for deliveries, ``size_bytes`` 0 for what has
no files."""

cursors = Table(
    "cursors",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("position", BigInteger, nullable=False),
)
"""How far a reader of ``events`` has come: the last row that it has dealt with."""

events = Table(
    "events",
    metadata,
    key_column(),
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
