"""Earlier studies of the same patient: chosen once for a version, read for each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, func, select

from dicom_node.records import (
    PriorStudy,
    Report,
    ReportStatus,
    StoredInstance,
)
from dicom_node.store.schema import instances, reports, studies

__all__ = ["choose_priors", "read_priors"]

_MOST = 3
"""More than the last three are seldom compared with."""

_CANDIDATES = 100


def choose_priors(connection: Connection, study_id: int) -> list[list[int]]:
    """Choose the newest earlier studies of a study's patient, at most three.

    The patient is the same when Patient ID is, and Issuer of Patient ID where both
    studies have one (PS3.3 C.7.1.1); an earlier study has an earlier Study Date.

    Returns
    -------
    list of list of int
        Row of each study, newest first, and its newest instance and report (0: it
        has none): what comes later does not change what was chosen.

    """
    study = connection.execute(select(studies).where(studies.c.id == study_id)).one()
    if not study.patient_id or not study.study_date:
        return []
    issuer = _issuer(study.attributes)
    rows = connection.execute(
        select(studies.c.id, studies.c.attributes)
        .where(
            studies.c.patient_id == study.patient_id,
            studies.c.study_date < study.study_date,
        )
        .order_by(studies.c.study_date.desc(), studies.c.id.desc())
        .limit(_CANDIDATES)
    ).all()
    chosen: list[list[int]] = []
    for row in rows:
        other = _issuer(row.attributes)
        if issuer and other and issuer != other:
            continue
        newest = connection.scalar(
            select(func.max(instances.c.id)).where(
                instances.c.study_id == row.id,
                instances.c.is_own_result.is_(False),
                instances.c.is_conflict.is_(False),
            )
        )
        if newest is None:
            continue
        report = connection.scalar(
            select(func.max(reports.c.id)).where(reports.c.study_id == row.id)
        )
        chosen.append([row.id, newest, report or 0])
        if len(chosen) == _MOST:
            break
    return chosen


def read_priors(
    connection: Connection, chosen: Sequence[Sequence[int]], *, data_dir: Path
) -> tuple[PriorStudy, ...]:
    """Return what `choose_priors` chose, as it was then.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A transaction.
    chosen : sequence of sequence of int
        As `choose_priors` returned it.
    data_dir : pathlib.Path
        The data folder, to make paths absolute.

    Returns
    -------
    tuple of PriorStudy
        With the reports that came by HL7, FHIR or REST, and with its instances, from
        which report documents are to be read.

    """
    return tuple(
        _read(connection, study_id, last_instance, last_report, data_dir=data_dir)
        for study_id, last_instance, last_report in chosen
    )


def _read(
    connection: Connection,
    study_id: int,
    last_instance_id: int,
    last_report_id: int,
    *,
    data_dir: Path,
) -> PriorStudy:
    study = connection.execute(select(studies).where(studies.c.id == study_id)).one()
    rows = connection.execute(
        select(instances)
        .where(
            instances.c.study_id == study_id,
            instances.c.id <= last_instance_id,
            instances.c.is_own_result.is_(False),
            instances.c.is_conflict.is_(False),
        )
        .order_by(instances.c.sop_instance_uid)
    )
    return PriorStudy(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date or "",
        reports=_reports(connection, study_id, last_report_id),
        instances=tuple(
            StoredInstance(
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                transfer_syntax_uid=row.transfer_syntax_uid,
                series_instance_uid=row.series_instance_uid,
                path=data_dir / row.path,
                sha256=row.sha256,
            )
            for row in rows
        ),
    )


def _reports(
    connection: Connection, study_id: int, last_report_id: int
) -> tuple[Report, ...]:
    rows = connection.execute(
        select(reports)
        .where(reports.c.study_id == study_id, reports.c.id <= last_report_id)
        .order_by(reports.c.id)
    ).all()
    # Not `is_current`, which a report that came since may have cleared.
    replaced = {row.predecessor_id for row in rows}
    return tuple(
        Report(
            text=row.text,
            source=f"{row.channel}:{row.id}",
            status=ReportStatus(row.status),
        )
        for row in rows
        if row.id not in replaced and row.status != ReportStatus.CANCELLED
    )


def _issuer(attributes: dict[str, str] | None) -> str:
    return (attributes or {}).get("IssuerOfPatientID", "")
