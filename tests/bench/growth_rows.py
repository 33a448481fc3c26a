"""Databases of any size: what a node would have written after so many studies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.audit import EventKind
from dicom_node.records import ReceivedInstance
from dicom_node.store import DeliveryState, Store, StudyState, VersionState
from dicom_node.store.database import Database
from dicom_node.store.schema import (
    deliveries,
    events,
    instances,
    reports,
    results,
    series,
    studies,
    versions,
)

__all__ = [
    "INSTANCES_OF_A_STUDY",
    "NOW",
    "fill",
    "instance_of",
    "patient_id",
    "study_date",
    "study_uid",
]

INSTANCES_OF_A_STUDY = 100
NOW = datetime(2026, 6, 1, tzinfo=UTC)
"""When the newest study came."""

_CHUNK = 50
_CT = "1.2.840.10008.5.1.4.1.1.2"
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_SR = "1.2.840.10008.5.1.4.1.1.88.34"
_PLAIN = "1.2.840.10008.1.2.1"
_STUDIES_OF_A_DAY = 100
_WAITING = 2
"""So many of the newest studies are not done yet, at any size: a site's backlog does
not grow with its archive."""

_UNMET = 10
"""So many of the newest studies came with a report of another study that did not."""


def study_uid(number: int) -> str:
    """Return the UID of a study by its row, from 1."""
    return f"1.2.826.0.1.3680043.8.498.{number}"


def patient_id(number: int) -> str:
    """Return the patient of a study: each has two."""
    return f"P{number // 2:09d}"


def study_date(number: int, count: int) -> str:
    """Return the date of a study among so many, a hundred a day."""
    return f"{_came(number, count):%Y%m%d}"


def instance_of(number: int, *, study: int, count: int) -> ReceivedInstance:
    """Make an instance that comes now, of a study of so many."""
    uid = f"{study_uid(study)}.9.{number}"
    sha256 = _hash(uid)
    return ReceivedInstance(
        sop_instance_uid=uid,
        sop_class_uid=_CT,
        transfer_syntax_uid=_PLAIN,
        study_instance_uid=study_uid(study),
        series_instance_uid=f"{study_uid(study)}.1",
        path=Path(_path(sha256)),
        sha256=sha256,
        size_bytes=526_000,
        calling_ae_title="MODALITY",
        peer_address="192.0.2.1",
        received_at=NOW + timedelta(milliseconds=number),
        study=_study_attributes(study, count),
        series={"Modality": "CT", "SeriesNumber": "1"},
        image={"InstanceNumber": number, "Rows": 512, "Columns": 512},
    )


def fill(url: str, *, instance_count: int) -> None:
    """Make a database of so many instances, 100 in each study.

    Parameters
    ----------
    url : str
        SQLAlchemy URL of an empty database.
    instance_count : int
        A multiple of 100. All but the newest two studies have results that were
        delivered to two destinations, a report and their events. Ten more reports wait
        for their studies.

    """
    with Store(url) as store:
        store.migrate()
    count = instance_count // INSTANCES_OF_A_STUDY
    database = Database(url)
    try:
        for first in range(1, count + 1, _CHUNK):
            numbers = range(first, min(first + _CHUNK, count + 1))
            with database.write(is_patient=True) as connection:
                for table, rows in _rows(numbers, count).items():
                    connection.execute(sa.insert(table), rows)
        _let_plan(database)
    finally:
        database.close()


def _let_plan(database: Database) -> None:
    with database.write(is_patient=True) as connection:
        if database.is_sqlite:
            return  # The node never runs ANALYZE on SQLite: its plans must not need it.
        for table in (studies, series, instances, versions, results):
            name = table.name
            column = sa.text(
                f"SELECT setval('{name}_id_seq', (SELECT max(id) FROM {name}))"
            )
            connection.execute(column)
        # What autovacuum does by itself after a while.
        connection.execute(sa.text("ANALYZE"))


def _rows(numbers: range, count: int) -> Mapping[sa.Table, list[dict[str, Any]]]:
    made: dict[sa.Table, list[dict[str, Any]]] = {
        table: []
        for table in (
            studies,
            series,
            instances,
            reports,
            versions,
            results,
            deliveries,
            events,
        )
    }
    for number in numbers:
        for table, row in _study_rows(number, count):
            made[table].append(row)
    return {table: rows for table, rows in made.items() if rows}


def _study_rows(number: int, count: int) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    came, uid = _came(number, count), study_uid(number)
    is_done = number <= count - _WAITING
    modality = ("CT", "CT", "MR", "CR")[number % 4]
    state = StudyState.DONE if is_done else StudyState.READY
    if is_done and number % 50 == 0:
        state = StudyState.FAILED
    attributes = _study_attributes(number, count)
    yield (
        studies,
        {
            "id": number,
            "study_instance_uid": uid,
            "state": state,
            "is_forced": False,
            "first_received_at": came,
            "last_received_at": came + timedelta(seconds=30),
            "latest_version_id": number,
            "is_prior": False,
            "accession_number": attributes["AccessionNumber"],
            "patient_id": attributes["PatientID"],
            "study_date": attributes["StudyDate"],
            "attributes": attributes,
        },
    )
    yield (
        series,
        {
            "id": number,
            "study_id": number,
            "series_instance_uid": f"{uid}.1",
            "modality": modality,
            "attributes": {"Modality": modality, "SeriesNumber": "1"},
        },
    )
    for image in range(1, INSTANCES_OF_A_STUDY + 1):
        yield from _instance_rows(number, image, came)
    of_study = {
        "identifier": f"R{number}",
        "accession_number": attributes["AccessionNumber"],
        "study_id": number,
    }
    yield reports, _report(number, came) | of_study
    if number > count - _UNMET:
        yield reports, _report(number, came)
    yield from _version_rows(number, came, state=state)


def _report(number: int, came: datetime) -> dict[str, Any]:
    """Return a report of a study that is not there."""
    return {
        "channel": "hl7",
        "sender": "RIS",
        "identifier": f"W{number}",
        "status": "final",
        "accession_number": f"W{number:09d}",
        "patient_id": patient_id(number),
        "text": "There is a nodule in the right upper lobe.",
        "sha256": _hash(f"report {number}"),
        "received_at": came,
        "study_id": None,
        "is_current": True,
    }


def _instance_rows(
    study: int, image: int, came: datetime
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    uid = f"{study_uid(study)}.1.{image}"
    sha256 = _hash(uid)
    yield (
        instances,
        {
            "id": (study - 1) * INSTANCES_OF_A_STUDY + image,
            "study_id": study,
            "series_instance_uid": f"{study_uid(study)}.1",
            "sop_instance_uid": uid,
            "sop_class_uid": _CT,
            "transfer_syntax_uid": _PLAIN,
            "path": _path(sha256),
            "sha256": sha256,
            "size_bytes": 526_000,
            "calling_ae_title": "MODALITY",
            "peer_address": "192.0.2.1",
            "received_at": came + timedelta(seconds=image / 4),
            "is_own_result": False,
            "is_conflict": False,
            "attributes": {"InstanceNumber": image, "Rows": 512, "Columns": 512},
        },
    )
    yield (
        events,
        {
            "at": came,
            "kind": EventKind.INSTANCE_RECEIVED,
            "study_id": study,
            "subject": uid,
            "detail": {"sha256": sha256, "is_own_result": False},
        },
    )


def _version_rows(
    number: int, came: datetime, *, state: StudyState
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    finished = came + timedelta(minutes=2)
    has_results = state is StudyState.DONE
    content, folder = _hash(f"version {number}"), f"results/{study_uid(number)}/v1"
    yield (
        versions,
        {
            "id": number,
            "study_id": number,
            "content_version": content,
            "last_instance_id": number * INSTANCES_OF_A_STUDY,
            "instance_count": INSTANCES_OF_A_STUDY,
            "state": VersionState(state),
            "run": 1,
            "predecessors": {},
            "created_at": came,
            "finished_at": None if state is StudyState.READY else finished,
            "result_dir": folder if has_results else None,
            "reason": "the model ran out of memory"
            if state is StudyState.FAILED
            else None,
        },
    )
    yield (
        events,
        {
            "at": came,
            "kind": EventKind.STUDY_COMPLETE,
            "study_id": number,
            "subject": content,
            "detail": {"instance_count": INSTANCES_OF_A_STUDY},
        },
    )
    for at, (sop_class, suffix) in enumerate(((_SEG, "2"), (_SR, "3"))):
        if not has_results:
            continue
        key = 2 * number + at
        yield (
            results,
            {
                "id": key,
                "version_id": number,
                "sop_instance_uid": f"{study_uid(number)}.{suffix}.1",
                "sop_class_uid": sop_class,
                "series_instance_uid": f"{study_uid(number)}.{suffix}",
                "study_instance_uid": study_uid(number),
                "transfer_syntax_uid": _PLAIN,
                "profile": "default",
                "path": f"{folder}/{suffix}.dcm",
                "sha256": _hash(f"result {key}"),
                "size_bytes": 100_000,
                "fingerprint": "bench",
                "created_at": finished,
            },
        )
        for destination in ("pacs", "archive"):
            yield (
                deliveries,
                {
                    "result_id": key,
                    "version_id": number,
                    "destination": destination,
                    "state": DeliveryState.DELIVERED,
                    "attempts": 1,
                    "give_up_at": finished + timedelta(days=7),
                    "next_attempt_at": finished,
                    "last_attempt_at": finished,
                    "delivered_at": finished,
                },
            )


def _study_attributes(number: int, count: int) -> dict[str, str]:
    return {
        "StudyInstanceUID": study_uid(number),
        "StudyDate": study_date(number, count),
        "StudyTime": "120000",
        "AccessionNumber": f"A{number:09d}",
        "PatientID": patient_id(number),
        "PatientName": f"NAME{number // 2}^GIVEN",
        "PatientSex": "O",
        "StudyDescription": "CHEST",
    }


def _came(number: int, count: int) -> datetime:
    return NOW - (count + 1 - number) * timedelta(days=1) / _STUDIES_OF_A_DAY


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _path(sha256: str) -> str:
    return f"spool/{sha256[:2]}/{sha256}.dcm"
