"""Earlier studies of the same patient: chosen once for a version, read for each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, func, select

from dicom_node.records import PriorStudy, StoredInstance
from dicom_node.store.report_joins import counted_report_ids, read_reports
from dicom_node.store.schema import instances, studies

__all__ = ["Chosen", "choose_priors", "read_priors"]

_MOST = 3
"""More than the last three are seldom compared with."""

_CANDIDATES = 100


Chosen: TypeAlias = list[Any]
"""Row of the study, its newest instance, and its reports that count: what comes later
does not change what was chosen."""


def choose_priors(
    connection: Connection, study_id: int, *, counts_preliminary: bool
) -> list[Chosen]:
    """Choose the newest earlier studies of a study's patient, at most three.

    The patient is the same when Patient ID is, and Issuer of Patient ID where both
    studies have one (PS3.3 C.7.1.1); an earlier study has an earlier Study Date.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A transaction.
    study_id : int
        The study.
    counts_preliminary : bool
        Whether preliminary reports count.

    Returns
    -------
    list of Chosen
        The newest first.

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
    chosen: list[Chosen] = []
    for row in rows:
        other = _issuer(row.attributes)
        if issuer and other and issuer != other:
            continue
        newest = connection.scalar(
            select(func.max(instances.c.id)).where(
                instances.c.study_id == row.id,
                instances.c.is_own_result.is_(False),
                instances.c.is_conflict.is_(False),
                instances.c.removed_at.is_(None),
            )
        )
        if newest is None:
            continue
        counted = counted_report_ids(
            connection, row.id, counts_preliminary=counts_preliminary
        )
        chosen.append([row.id, newest, counted])
        if len(chosen) == _MOST:
            break
    return chosen


def read_priors(
    connection: Connection, chosen: Sequence[Chosen], *, data_dir: Path
) -> tuple[PriorStudy, ...]:
    """Return what `choose_priors` chose, as it was then.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A transaction.
    chosen : sequence of Chosen
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
        _read(connection, study_id, last_instance, report_ids, data_dir=data_dir)
        for study_id, last_instance, report_ids in chosen
    )


def _read(
    connection: Connection,
    study_id: int,
    last_instance_id: int,
    report_ids: Sequence[int],
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
            instances.c.removed_at.is_(None),
        )
        .order_by(instances.c.sop_instance_uid)
    )
    return PriorStudy(
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date or "",
        reports=read_reports(connection, report_ids),
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


def _issuer(attributes: dict[str, str] | None) -> str:
    return (attributes or {}).get("IssuerOfPatientID", "")
