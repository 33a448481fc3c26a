"""Create the tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column(
            "first_received_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.Column(
            "last_received_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.Column("latest_version_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_instance_uid", name="uq_studies_study_instance_uid"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("studies") as batch_op:
        batch_op.create_index("ix_studies_is_forced", ["is_forced"])
        batch_op.create_index(
            "ix_studies_state_last_received_at", ["state", "last_received_at"]
        )

    op.create_table(
        "owner",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owner"),
    )

    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=True),
        sa.Column("subject", sa.String(length=128), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_events_study_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("events") as batch_op:
        batch_op.create_index("ix_events_kind_id", ["kind", "id"])
        batch_op.create_index("ix_events_study_id_id", ["study_id", "id"])

    op.create_table(
        "instances",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("peer_address", sa.String(length=64), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.Column("is_own_result", sa.Boolean(), nullable=False),
        sa.Column("is_conflict", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_instances_study_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint(
            "sop_instance_uid",
            "sha256",
            name="uq_instances_sop_instance_uid_sha256",
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("instances") as batch_op:
        batch_op.create_index("ix_instances_path", ["path"])
        batch_op.create_index("ix_instances_study_id_id", ["study_id", "id"])

    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("content_version", sa.String(length=64), nullable=False),
        sa.Column("predecessor_id", sa.Integer(), nullable=True),
        sa.Column("last_instance_id", sa.Integer(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=1024), nullable=True),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("predecessors", sa.JSON(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            nullable=True,
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
        ),
        sa.Column("result_dir", sa.String(length=512), nullable=True),
        sa.ForeignKeyConstraint(
            ["predecessor_id"], ["versions.id"], name="fk_versions_predecessor_id"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_versions_study_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint(
            "study_id",
            "content_version",
            name="uq_versions_study_id_content_version",
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("versions") as batch_op:
        batch_op.create_index("ix_versions_state", ["state"])

    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=32), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_results_version_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_results_sop_instance_uid"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("results") as batch_op:
        batch_op.create_index("ix_results_version_id", ["version_id"])

    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column(
            "give_up_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            nullable=False,
        ),
        sa.Column(
            "last_attempt_at",
            sa.DateTime(timezone=True),
            nullable=True,
        ),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_comment", sa.String(length=256), nullable=True),
        sa.Column(
            "delivered_at",
            sa.DateTime(timezone=True),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["result_id"], ["results.id"], name="fk_deliveries_result_id"
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_deliveries_version_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint(
            "result_id", "destination", name="uq_deliveries_result_id_destination"
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("deliveries") as batch_op:
        batch_op.create_index(
            "ix_deliveries_destination_state", ["destination", "state"]
        )
        batch_op.create_index(
            "ix_deliveries_version_id_destination_state",
            ["version_id", "destination", "state"],
        )


def downgrade() -> None:
    """Take this revision back."""
    with op.batch_alter_table("deliveries") as batch_op:
        batch_op.drop_index("ix_deliveries_version_id_destination_state")
        batch_op.drop_index("ix_deliveries_destination_state")

    op.drop_table("deliveries")
    with op.batch_alter_table("results") as batch_op:
        batch_op.drop_index("ix_results_version_id")

    op.drop_table("results")
    with op.batch_alter_table("versions") as batch_op:
        batch_op.drop_index("ix_versions_state")

    op.drop_table("versions")
    with op.batch_alter_table("instances") as batch_op:
        batch_op.drop_index("ix_instances_study_id_id")
        batch_op.drop_index("ix_instances_path")

    op.drop_table("instances")
    with op.batch_alter_table("events") as batch_op:
        batch_op.drop_index("ix_events_study_id_id")
        batch_op.drop_index("ix_events_kind_id")

    op.drop_table("events")
    op.drop_table("owner")
    with op.batch_alter_table("studies") as batch_op:
        batch_op.drop_index("ix_studies_state_last_received_at")
        batch_op.drop_index("ix_studies_is_forced")

    op.drop_table("studies")
