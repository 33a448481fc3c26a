"""What studies and series say of themselves, kept beside the rows to be searched."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from dicom_node.records import ReceivedInstance
from dicom_node.store.schema import series, studies

__all__ = ["describe_study"]

_NAMES_REPORTS = ("AccessionNumber", "PatientID")
"""What a report is joined by, beside the study's UID."""


def describe_study(
    connection: Connection, study_id: int, instance: ReceivedInstance
) -> bool:
    """Add what an instance says to what is known of its study and series.

    Returns whether this is news about which reports are the study's: it is the first
    instance, or the first with an accession number or a patient id.

    The first value of an attribute stays; our own results, which copy the study's,
    fill only what is empty like any other instance.
    """
    known = connection.scalar(
        select(studies.c.attributes).where(studies.c.id == study_id)
    )
    merged = {**instance.study, **(known or {})}
    is_news = known is None or any(
        known.get(name) != merged.get(name) for name in _NAMES_REPORTS
    )
    if merged != known:
        connection.execute(
            update(studies)
            .where(studies.c.id == study_id)
            .values(
                attributes=merged,
                accession_number=_cut(merged.get("AccessionNumber"), 64),
                patient_id=_cut(merged.get("PatientID"), 64),
                study_date=_cut(merged.get("StudyDate"), 8),
            )
        )
    row = connection.execute(
        select(series.c.id, series.c.attributes).where(
            series.c.study_id == study_id,
            series.c.series_instance_uid == instance.series_instance_uid,
        )
    ).one_or_none()
    said = dict(instance.series)
    if row is None:
        connection.execute(
            insert(series).values(
                study_id=study_id,
                series_instance_uid=instance.series_instance_uid,
                modality=_cut(said.get("Modality"), 16),
                attributes=said,
            )
        )
    elif (both := {**said, **row.attributes}) != row.attributes:
        connection.execute(
            update(series)
            .where(series.c.id == row.id)
            .values(attributes=both, modality=_cut(both.get("Modality"), 16))
        )
    return is_news


def _cut(value: Any, length: int) -> str | None:
    return str(value)[:length] if value else None
