"""Which reports wait: kept by triggers, so that nobody looks at every report.

A report waits while it is current and its study, or the study's first image, is not
here. A later revision that makes `reports` or `instances` anew has to make their
triggers anew as well.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_WAITS = (
    "({row}.is_current AND {row}.removed_at IS NULL AND ({row}.study_id IS NULL OR "
    "NOT EXISTS (SELECT 1 FROM instances AS held WHERE held.study_id = {row}.study_id "
    "AND NOT held.is_own_result AND NOT held.is_conflict "
    "AND held.removed_at IS NULL)))"
)
_NEW, _STORED = _WAITS.format(row="new"), _WAITS.format(row="reports")

_DECIDE = "UPDATE reports SET waits = {waits} WHERE id = new.id;"

_IS_IMAGE = "NOT new.is_own_result AND NOT new.is_conflict AND new.removed_at IS NULL"
_IMAGE_CAME = (
    "UPDATE reports SET waits = false WHERE study_id = new.study_id AND waits;"
)
"""This comes with each image of a study: it asks nothing else."""

_CHANGED = (
    "UPDATE reports SET waits = {waits} "
    "WHERE study_id IN ({studies}) AND is_current AND waits <> {waits};"
)

_ONCE = "UPDATE reports SET waits = true WHERE {waits}"

_OF_REPORT = "study_id, is_current, removed_at"
_OF_INSTANCE = "study_id, is_own_result, is_conflict, removed_at"
"""What of a row decides."""

_INSTANCES = {
    "insert": ("INSERT", f"WHEN ({_IS_IMAGE})", _IMAGE_CAME),
    "update": (
        f"UPDATE OF {_OF_INSTANCE}",
        "",
        _CHANGED.format(waits=_STORED, studies="old.study_id, new.study_id"),
    ),
    "delete": ("DELETE", "", _CHANGED.format(waits=_STORED, studies="old.study_id")),
}


def upgrade() -> None:
    """Apply this revision."""
    op.add_column(
        "reports",
        sa.Column("waits", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.execute(_ONCE.format(waits=_STORED))
    op.create_index(
        "ix_reports_waiting",
        "reports",
        ["waits", "id"],
        sqlite_where=sa.text("waits IS 1"),
        postgresql_where=sa.text("waits IS true"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _make_on_sqlite()
    else:
        _make_on_server()


def _make_on_sqlite() -> None:
    for name, when in (("insert", "INSERT"), ("update", f"UPDATE OF {_OF_REPORT}")):
        op.execute(
            f"CREATE TRIGGER waits_reports_{name} AFTER {when} ON reports "
            f"BEGIN {_DECIDE.format(waits=_NEW)} END"
        )
    for name, (when, only, step) in _INSTANCES.items():
        op.execute(
            f"CREATE TRIGGER waits_instances_{name} AFTER {when} ON instances "
            f"{only} BEGIN {step} END"
        )


def _make_on_server() -> None:
    _make_function("waits_reports", f"NEW.waits := {_NEW}; RETURN NEW;")
    op.execute(
        f"CREATE TRIGGER waits_reports BEFORE INSERT OR UPDATE OF {_OF_REPORT} "
        "ON reports FOR EACH ROW EXECUTE FUNCTION waits_reports()"
    )
    for name, (when, only, step) in _INSTANCES.items():
        function = f"waits_instances_{name}"
        _make_function(function, f"{step} RETURN NULL;")
        op.execute(
            f"CREATE TRIGGER {function} AFTER {when} ON instances "
            f"FOR EACH ROW {only} EXECUTE FUNCTION {function}()"
        )


def _make_function(name: str, steps: str) -> None:
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger AS $$ BEGIN {steps} END $$ "
        "LANGUAGE plpgsql"
    )
