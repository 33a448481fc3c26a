"""What the tables have in common: their names' rules, moments and keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, Integer, MetaData, String
from sqlalchemy.types import TypeDecorator

__all__ = [
    "UtcDateTime",
    "key_column",
    "metadata",
    "uid_column",
]


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


def key_column() -> Column[Any]:
    """Make the column that numbers rows."""
    return Column("id", Integer, primary_key=True, autoincrement=True)


def uid_column(name: str, **options: Any) -> Column[Any]:
    """Make a column of UIDs or hashes, never empty."""
    return Column(name, String(64), nullable=False, **options)
