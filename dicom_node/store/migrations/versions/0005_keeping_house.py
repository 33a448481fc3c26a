"""What retention removed, who works, how far readers have come, remote studies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    for table in ("studies", "instances", "versions", "results", "reports"):
        op.add_column(
            table, sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True)
        )
    op.add_column("results", sa.Column("size_bytes", sa.BigInteger(), nullable=True))
    op.add_column(
        "owner", sa.Column("epoch", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "remote_studies",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("remote", sa.String(64), nullable=False),
        sa.Column("pseudonymous_study_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["versions.id"],
            name=op.f("fk_remote_studies_version_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remote_studies")),
        sa.UniqueConstraint(
            "pseudonymous_study_uid",
            name=op.f("uq_remote_studies_pseudonymous_study_uid"),
        ),
        sa.UniqueConstraint(
            "version_id",
            "run",
            "remote",
            name=op.f("uq_remote_studies_version_id_run_remote"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_remote_studies_state"), "remote_studies", ["state"])
    op.create_table(
        "remote_answers",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("remote_study_id", sa.Integer(), nullable=True),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["remote_study_id"],
            ["remote_studies.id"],
            name=op.f("fk_remote_answers_remote_study_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_remote_answers")),
        sa.UniqueConstraint("path", name=op.f("uq_remote_answers_path")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_remote_answers_remote_study_id"),
        "remote_answers",
        ["remote_study_id"],
    )
    op.create_index(
        op.f("ix_remote_answers_sop_instance_uid"),
        "remote_answers",
        ["sop_instance_uid"],
    )
