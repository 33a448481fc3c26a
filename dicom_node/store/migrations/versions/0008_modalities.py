"""Indexes by which the studies of a modality are found, few or none."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_index(
        op.f("ix_series_modality_study_id"), "series", ["modality", "study_id"]
    )
    op.create_index(op.f("ix_results_sop_class_uid"), "results", ["sop_class_uid"])
