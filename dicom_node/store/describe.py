"""What studies and series say of themselves, kept beside the rows to be searched."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, and_, bindparam, insert, select, update

from dicom_node.records import ReceivedInstance
from dicom_node.store.prepared import PreparedLook
from dicom_node.store.schema import instances, remote_studies, series, studies

__all__ = ["StudyRow", "describe_study", "look_at_study"]

StudyRow: TypeAlias = Row[Any, Any, Any, Any, Any, Any, Any, Any, Any]
"""What `look_at_study` found."""

_NAMES_REPORTS = ("AccessionNumber", "PatientID")
"""What a report is joined by, beside the study's UID."""

# Made once: to build a statement takes longer than to run it.
_LOOK = PreparedLook(
    select(
        studies.c.id,
        studies.c.state,
        studies.c.is_prior,
        studies.c.removed_at,
        studies.c.attributes,
        series.c.id.label("series_id"),
        series.c.attributes.label("series_attributes"),
        select(instances.c.id)
        .where(instances.c.sop_instance_uid == bindparam("sop_uid"))
        .limit(1)
        .scalar_subquery()
        .label("known_id"),
        select(remote_studies.c.id)
        .where(remote_studies.c.pseudonymous_study_uid == bindparam("study_uid"))
        .limit(1)
        .scalar_subquery()
        .label("remote_id"),
    )
    .select_from(
        studies.outerjoin(
            series,
            and_(
                series.c.study_id == studies.c.id,
                series.c.series_instance_uid == bindparam("series_uid"),
            ),
        )
    )
    .where(studies.c.study_instance_uid == bindparam("study_uid"))
    .with_for_update(of=studies)
)


def look_at_study(
    connection: Connection, instance: ReceivedInstance
) -> StudyRow | None:
    """Return what is known of an instance's study and series; None: no study.

    ``known_id`` is a row of the same SOP Instance UID, ``remote_id`` one of a remote
    model that works on the study under this UID. The study is locked until the
    transaction ends.
    """
    found = _LOOK.rows(
        connection,
        {
            "study_uid": instance.study_instance_uid,
            "series_uid": instance.series_instance_uid,
            "sop_uid": instance.sop_instance_uid,
        },
    )
    return found[0] if found else None


def describe_study(
    connection: Connection, known: StudyRow, instance: ReceivedInstance
) -> bool:
    """Add what an instance says to what is known of its study and series.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A write transaction.
    known : sqlalchemy.Row
        By `look_at_study`, in the same transaction.
    instance : ReceivedInstance
        The instance.

    Returns
    -------
    bool
        Whether this is news about which reports are the study's: it is the first
        instance, or the first with an accession number or a patient id.

    Notes
    -----
    The first value of an attribute stays; our own results, which copy the study's,
    fill only what is empty like any other instance.

    """
    attributes = known.attributes
    merged = {**instance.study, **(attributes or {})}
    is_news = attributes is None or any(
        attributes.get(name) != merged.get(name) for name in _NAMES_REPORTS
    )
    if merged != attributes:
        connection.execute(
            update(studies)
            .where(studies.c.id == known.id)
            .values(
                attributes=merged,
                accession_number=_cut(merged.get("AccessionNumber"), 64),
                patient_id=_cut(merged.get("PatientID"), 64),
                study_date=_cut(merged.get("StudyDate"), 8),
            )
        )
    said = dict(instance.series)
    if known.series_id is None:
        connection.execute(
            insert(series).values(
                study_id=known.id,
                series_instance_uid=instance.series_instance_uid,
                modality=_cut(said.get("Modality"), 16),
                attributes=said,
            )
        )
    elif (both := {**said, **known.series_attributes}) != known.series_attributes:
        connection.execute(
            update(series)
            .where(series.c.id == known.series_id)
            .values(attributes=both, modality=_cut(both.get("Modality"), 16))
        )
    return is_news


def _cut(value: Any, length: int) -> str | None:
    return str(value)[:length] if value else None
