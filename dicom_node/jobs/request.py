"""What a job asks for, as JSON: a study with the keys of its files, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicom_node import __version__
from dicom_node.errors import JobError
from dicom_node.records import (
    ObjectReference,
    PriorStudy,
    Report,
    ReportStatus,
    StoredInstance,
    StudyReady,
)
from dicom_node.reports.find import REPORT_SOP_CLASSES
from dicom_node.store.jobs import Job

__all__ = ["JobRequest", "file_keys", "make_job", "needed_instances", "read_request"]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a worker has to do."""

    ready: StudyReady
    predecessors: tuple[ObjectReference, ...]
    model: str | None
    profiles: tuple[str, ...]
    may_retry: bool
    """Whether a model that ends over the study ends the job, to be tried once more."""


def needed_instances(ready: StudyReady) -> tuple[StoredInstance, ...]:
    """Return the instances whose files are read: the study's, and priors' documents."""
    return (
        *ready.instances,
        *(
            one
            for prior in ready.priors
            for one in prior.instances
            if one.sop_class_uid in REPORT_SOP_CLASSES
        ),
    )


def make_job(
    asked: JobRequest, *, fingerprint: str, key_of: Callable[[StoredInstance], str]
) -> Job:
    """Write a job down; the same request makes the same job.

    Parameters
    ----------
    asked : JobRequest
        What is to be done.
    fingerprint : str
        What a worker must be to do it.
    key_of : callable
        Names an instance's file in the place that node and workers share.

    """
    ready = asked.ready
    needed = {id(one) for one in needed_instances(ready)}

    def written(instances: Sequence[StoredInstance]) -> list[list[str]]:
        return [
            [
                one.sop_instance_uid,
                one.sop_class_uid,
                one.transfer_syntax_uid,
                one.series_instance_uid,
                one.sha256,
                key_of(one) if id(one) in needed else "",
            ]
            for one in instances
        ]

    request = {
        "software": __version__,
        "study_instance_uid": ready.study_instance_uid,
        "content_version": ready.content_version,
        "predecessor_version": ready.predecessor_version,
        "instances": written(ready.instances),
        "reports": [asdict(one) for one in ready.reports],
        "priors": [
            {
                "study_instance_uid": one.study_instance_uid,
                "study_date": one.study_date,
                "reports": [asdict(report) for report in one.reports],
                "instances": written(one.instances),
            }
            for one in ready.priors
        ],
        "predecessors": [
            [
                one.sop_class_uid,
                one.sop_instance_uid,
                one.series_instance_uid,
                one.study_instance_uid,
            ]
            for one in asked.predecessors
        ],
        "model": asked.model,
        "profiles": list(asked.profiles),
        "may_retry": asked.may_retry,
    }
    text = json.dumps([fingerprint, request], sort_keys=True)
    return Job(
        job_id=hashlib.sha256(text.encode()).hexdigest(),
        fingerprint=fingerprint,
        study_instance_uid=ready.study_instance_uid,
        content_version=ready.content_version,
        request=request,
    )


def file_keys(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that a job reads: their SHA-256 by their key."""
    parts = [request["instances"], *(one["instances"] for one in request["priors"])]
    return {one[5]: one[4] for part in parts for one in part if one[5]}


def read_request(request: Mapping[str, Any], files: Mapping[str, Path]) -> JobRequest:
    """Read what `make_job` wrote.

    Parameters
    ----------
    request : mapping
        As it came from the database.
    files : mapping of str to pathlib.Path
        Where the worker has the file of each key.

    Raises
    ------
    JobError
        It is not what this version writes.

    """
    try:
        return JobRequest(
            ready=StudyReady(
                study_instance_uid=request["study_instance_uid"],
                content_version=request["content_version"],
                instances=_instances(request["instances"], files),
                predecessor_version=request["predecessor_version"],
                reports=_reports(request["reports"]),
                priors=tuple(
                    PriorStudy(
                        study_instance_uid=one["study_instance_uid"],
                        study_date=one["study_date"],
                        reports=_reports(one["reports"]),
                        instances=_instances(one["instances"], files),
                    )
                    for one in request["priors"]
                ),
            ),
            predecessors=tuple(
                ObjectReference(*one) for one in request["predecessors"]
            ),
            model=request["model"],
            profiles=tuple(request["profiles"]),
            may_retry=bool(request["may_retry"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        msg = "the job is not written as this version writes them"
        raise JobError(msg) from error


def _instances(
    rows: Sequence[Sequence[str]], files: Mapping[str, Path]
) -> tuple[StoredInstance, ...]:
    return tuple(
        StoredInstance(
            sop_instance_uid=row[0],
            sop_class_uid=row[1],
            transfer_syntax_uid=row[2],
            series_instance_uid=row[3],
            # What nobody reads was not brought.
            path=files[row[5]] if row[5] else Path("not-brought", row[4]),
            sha256=row[4],
        )
        for row in rows
    )


def _reports(rows: Sequence[Mapping[str, Any]]) -> tuple[Report, ...]:
    def status_of(row: Mapping[str, Any]) -> ReportStatus | None:
        return None if row["status"] is None else ReportStatus(row["status"])

    return tuple(Report(**{**row, "status": status_of(row)}) for row in rows)
