"""What a workitem says and what is written into it.

References
----------
PS3.3 C.30 (Unified Procedure Step), PS3.3 Table 10-3b (Referenced Instances and
Access), PS3.4 Table CC.2.5-3 (what a final state needs).

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from dicom_node.records import ObjectReference

__all__ = [
    "WorkInput",
    "cancellation",
    "is_for",
    "performed",
    "progress",
    "read_input",
    "search_keys",
]

_SCHEME = "99DCMNODE"
_WORK_MEANING = "Grounding of report phrases"
_MOST_REASON = 64
"""Reason For Cancellation is LT, but a page shows one line."""


@dataclass(frozen=True, slots=True)
class WorkInput:
    """The study that a workitem is about."""

    study_instance_uids: tuple[str, ...]
    sop_instance_uids: frozenset[str]
    """Instances that are named one by one; empty: all of the study."""
    patient_id: str
    retrieve_ae_titles: frozenset[str]
    retrieve_urls: tuple[str, ...]


def search_keys(*, procedure: str | None, station: str) -> dict[str, str]:
    """Return the matching keys for work of ours (PS3.18 11.9.1.2)."""
    keys = {"ProcedureStepState": "SCHEDULED"}
    if procedure is not None:
        keys["ScheduledWorkitemCodeSequence.CodeValue"] = procedure
    else:
        keys["ScheduledStationNameCodeSequence.CodeValue"] = station
    fields = (
        "ScheduledWorkitemCodeSequence",
        "ScheduledStationNameCodeSequence",
        "InputReadinessState",
    )
    return {**keys, "includefield": ",".join(fields)}


def is_for(item: Dataset, *, procedure: str | None, station: str) -> bool:
    """Return whether a workitem is one to claim.

    A manager may ignore a matching key that it does not know, so it is looked at
    again; what it does not return is believed.
    """
    if item.get("ProcedureStepState", "SCHEDULED") != "SCHEDULED":
        return False
    if item.get("InputReadinessState", "READY") not in {"", "READY", "UNAVAILABLE"}:
        return False  # INCOMPLETE: it is still being put together
    keyword, wanted = "ScheduledStationNameCodeSequence", station
    if procedure is not None:
        keyword, wanted = "ScheduledWorkitemCodeSequence", procedure
    codes = item.get(keyword)
    return not codes or any(one.get("CodeValue") == wanted for one in codes)


def read_input(item: Dataset) -> WorkInput:
    """Read which study a workitem is about and where it can be fetched."""
    references = list(item.get("InputInformationSequence") or ())
    return WorkInput(
        study_instance_uids=tuple(
            dict.fromkeys(
                str(one.StudyInstanceUID)
                for one in references
                if one.get("StudyInstanceUID")
            )
        ),
        sop_instance_uids=frozenset(
            str(instance.ReferencedSOPInstanceUID)
            for one in references
            for instance in one.get("ReferencedSOPSequence") or ()
            if instance.get("ReferencedSOPInstanceUID")
        ),
        patient_id=str(item.get("PatientID") or "").strip(),
        retrieve_ae_titles=frozenset(
            str(where.RetrieveAETitle).strip()
            for one in references
            for where in one.get("DICOMRetrievalSequence") or ()
            if where.get("RetrieveAETitle")
        ),
        retrieve_urls=tuple(
            str(where.RetrieveURL).strip()
            for one in references
            for where in one.get("WADORSRetrievalSequence") or ()
            if where.get("RetrieveURL")
        ),
    )


def progress(percent: int) -> Dataset:
    """Write Procedure Step Progress, in percent."""
    item = Dataset()
    item.ProcedureStepProgress = str(percent)
    ds = Dataset()
    ds.ProcedureStepProgressInformationSequence = DicomSequence([item])
    return ds


def cancellation(reason: str, *, now: datetime) -> Dataset:
    """Write why it is given up: what state CANCELED needs.

    Parameters
    ----------
    reason : str
        Free of patient data.
    now : datetime
        The moment.

    """
    item = Dataset()
    item.ProcedureStepCancellationDateTime = _dt(now)
    item.ReasonForCancellation = reason[:_MOST_REASON]
    # CID 9300: what kind it was is told in words.
    code = _code("110513", "DCM", "Discontinued for unspecified reason")
    item.ProcedureStepDiscontinuationReasonCodeSequence = DicomSequence([code])
    ds = Dataset()
    ds.ProcedureStepProgressInformationSequence = DicomSequence([item])
    return ds


def performed(
    results: Sequence[ObjectReference],
    *,
    station: str,
    began: datetime,
    ended: datetime,
    procedure: Dataset | None,
    retrieve_ae_title: str | None = None,
    retrieve_url: str | None = None,
) -> Dataset:
    """Write what was done and where its results are: what state COMPLETED needs.

    Parameters
    ----------
    results : sequence of ObjectReference
        The results.
    station : str
        Our AE title, as Performed Station Name Code.
    began, ended : datetime
        When it was processed.
    procedure : Dataset, optional
        The scheduled workitem code, which is what was performed.
    retrieve_ae_title, retrieve_url : str, optional
        Where the results can be had.

    """
    step = Dataset()
    step.PerformedStationNameCodeSequence = DicomSequence(
        [_code(station[:16], _SCHEME, station)]
    )
    step.PerformedProcedureStepStartDateTime = _dt(began)
    step.PerformedProcedureStepEndDateTime = _dt(ended)
    step.PerformedProcedureStepDescription = _WORK_MEANING
    step.PerformedWorkitemCodeSequence = DicomSequence(
        [procedure or _code("grounding", _SCHEME, _WORK_MEANING)]
    )
    by_series: dict[tuple[str, str], list[ObjectReference]] = {}
    for one in results:
        series = one.study_instance_uid, one.series_instance_uid
        by_series.setdefault(series, []).append(one)
    step.OutputInformationSequence = DicomSequence(
        _reference(
            study,
            series,
            members,
            retrieve_ae_title=retrieve_ae_title,
            retrieve_url=retrieve_url,
        )
        for (study, series), members in by_series.items()
    )
    ds = Dataset()
    ds.UnifiedProcedureStepPerformedProcedureSequence = DicomSequence([step])
    done = progress(100)
    ds.ProcedureStepProgressInformationSequence = (
        done.ProcedureStepProgressInformationSequence
    )
    return ds


def _reference(
    study_instance_uid: str,
    series_instance_uid: str,
    members: Sequence[ObjectReference],
    *,
    retrieve_ae_title: str | None,
    retrieve_url: str | None,
) -> Dataset:
    ds = Dataset()
    ds.TypeOfInstances = "DICOM"
    ds.StudyInstanceUID = study_instance_uid
    ds.SeriesInstanceUID = series_instance_uid
    ds.ReferencedSOPSequence = DicomSequence()
    for one in members:
        item = Dataset()
        item.ReferencedSOPClassUID = one.sop_class_uid
        item.ReferencedSOPInstanceUID = one.sop_instance_uid
        ds.ReferencedSOPSequence.append(item)
    where = Dataset()
    if retrieve_url is not None:
        root = f"{retrieve_url}/studies/{study_instance_uid}"
        where.RetrieveURL = f"{root}/series/{series_instance_uid}"
        ds.WADORSRetrievalSequence = DicomSequence([where])
    if retrieve_ae_title is not None:
        where = Dataset()
        where.RetrieveAETitle = retrieve_ae_title
        ds.DICOMRetrievalSequence = DicomSequence([where])
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return code


def _dt(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S.%f%z")
