"""Numbers that are kept instead of counted, and indexes for what would be read whole.

Triggers keep the numbers, so that every change of a row counts, whoever makes it. A
later revision that makes a counted table anew has to make its triggers anew as well.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEPT = "CASE WHEN {row}.removed_at IS NULL THEN 'kept' ELSE 'removed' END"

_COUNTED = {
    # Table: its state, its destination, its bytes, and what may change any of them.
    "studies": ("{row}.state", "''", "0", ("state",)),
    "versions": ("{row}.state", "''", "0", ("state",)),
    "deliveries": ("{row}.state", "{row}.destination", "0", ("state", "destination")),
    "instances": (_KEPT, "''", "{row}.size_bytes", ("removed_at", "size_bytes")),
    "results": (
        _KEPT,
        "''",
        "coalesce({row}.size_bytes, 0)",
        ("removed_at", "size_bytes"),
    ),
}

_ONCE = (
    "INSERT INTO tallies (of_table, state, destination, count, size_bytes) "
    "SELECT '{table}', state, destination, count(*), sum(size_bytes) FROM "
    "(SELECT {state} AS state, {destination} AS destination, {size} AS size_bytes "
    "FROM {table}) AS counted GROUP BY state, destination"
)

_STEP = (
    "INSERT INTO tallies (of_table, state, destination, count, size_bytes) "
    "VALUES ('{table}', {state}, {destination}, {sign}, {sign} * {size}) "
    "ON CONFLICT (of_table, state, destination) DO UPDATE SET "
    "count = tallies.count + excluded.count, "
    "size_bytes = tallies.size_bytes + excluded.size_bytes;"
)

_DIFFERS = {True: "IS NOT", False: "IS DISTINCT FROM"}
"""Whether it is SQLite, and how it compares what may be empty."""


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "tallies",
        sa.Column("of_table", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "of_table", "state", "destination", name=op.f("pk_tallies")
        ),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, (state, destination, size, columns) in _COUNTED.items():
        _count_once(table, state, destination, size)
        changes = {
            "insert": ("INSERT", (("new", 1),)),
            "update": (f"UPDATE OF {', '.join(columns)}", (("old", -1), ("new", 1))),
            "delete": ("DELETE", (("old", -1),)),
        }
        for name, (when, rows) in changes.items():
            steps = " ".join(
                _STEP.format(
                    table=table,
                    state=state.format(row=row),
                    destination=destination.format(row=row),
                    size=size.format(row=row),
                    sign=sign,
                )
                for row, sign in rows
            )
            differs = " OR ".join(
                f"old.{one} {_DIFFERS[is_sqlite]} new.{one}" for one in columns
            )
            only = f"WHEN ({differs})" if name == "update" else ""
            make = _trigger if is_sqlite else _deferred_trigger
            make(f"tally_{table}_{name}", f"AFTER {when} ON {table}", only, steps)
    _indexes()


def _count_once(table: str, state: str, destination: str, size: str) -> None:
    rows = _ONCE.format(table=table, state=state, destination=destination, size=size)
    op.execute(rows.format(row=table))


def _trigger(name: str, when: str, only: str, steps: str) -> None:
    op.execute(f"CREATE TRIGGER {name} {when} FOR EACH ROW {only} BEGIN {steps} END")


def _deferred_trigger(name: str, when: str, only: str, steps: str) -> None:
    # At the end of a transaction, which takes no other locks after it: two that change
    # the same numbers wait for one another, and never each for the other.
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger AS $$ BEGIN "
        f"PERFORM pg_advisory_xact_lock(7211, 7); {steps} RETURN NULL; END $$ "
        "LANGUAGE plpgsql"
    )
    op.execute(
        f"CREATE CONSTRAINT TRIGGER {name} {when} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW {only} EXECUTE FUNCTION {name}()"
    )


def _indexes() -> None:
    op.drop_index(op.f("ix_deliveries_destination_state"), "deliveries")
    op.create_index(
        op.f("ix_deliveries_state_destination"), "deliveries", ["state", "destination"]
    )
    op.drop_index(op.f("ix_studies_is_forced"), "studies")
    op.create_index(
        "ix_studies_forced",
        "studies",
        ["is_forced"],
        sqlite_where=sa.text("is_forced IS 1"),
        postgresql_where=sa.text("is_forced IS true"),
    )
    op.create_index(op.f("ix_studies_study_date"), "studies", ["study_date"])
    op.create_index(
        "ix_versions_with_reason",
        "versions",
        ["state"],
        sqlite_where=sa.text("reason IS NOT NULL"),
        postgresql_where=sa.text("reason IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_workitems_study_instance_uid"), "workitems", ["study_instance_uid"]
    )
