"""A result as a FHIR R5 Bundle in the shape of IHE IMR.

A report is a DiagnosticReport whose phrases are spans that refer to ImagingSelections:
the segments of the SEG, and the boxes on the source images. Each phrase, found, not
found or negated, is an Observation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset

from dicom_node import __version__
from dicom_node.durable import write_whole
from dicom_node.fhir.narrative import Link, narrative
from dicom_node.fhir.parts import (
    Ids,
    concept,
    reference,
    sop_class,
    uid_identifier,
)
from dicom_node.fhir.selections import select
from dicom_node.identity import MANUFACTURER, MODEL_NAME, derive_uid
from dicom_node.objects.sources import study_header
from dicom_node.records import (
    Code,
    PhraseResult,
    PhraseStatus,
    Report,
    ReportStatus,
    ResultObject,
    StudyResult,
)
from dicom_node.result import FHIR_JSON

__all__ = ["make_bundle", "write_fhir_json"]

Resource = dict[str, Any]

_ACSN = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
    ]
}
_IMAGING_REPORT = Code("LN", "18748-4", "Diagnostic imaging study")
_PRESENCE = {
    PhraseStatus.PRESENT: Code("SCT", "52101004", "Present"),
    PhraseStatus.ABSENT: Code("SCT", "2667000", "Absent"),
    PhraseStatus.UNCERTAIN: Code("SCT", "82334004", "Indeterminate"),
}
_MODALITIES = (
    ("1.2.840.10008.5.1.4.1.1.66.", "SEG"),
    ("1.2.840.10008.5.1.4.1.1.88.59", "KO"),
    ("1.2.840.10008.5.1.4.1.1.88.", "SR"),
    ("1.2.840.10008.5.1.4.1.1.11.", "PR"),
    ("1.2.840.10008.5.1.4.1.1.104.", "DOC"),
    ("", "OT"),
)
"""Beginning of a SOP class UID to Modality (0008,0060) of such an object."""

_NOTICE = "AI - not for diagnostic use. No person has verified the regions."


def make_bundle(result: StudyResult, objects: Sequence[ResultObject]) -> Resource:
    """Describe a result as a transaction Bundle.

    It is a transaction, as a Report Creator sends it (IHE IMR, RAD-141), of ``PUT``
    requests: the spans name ImagingSelections by id, so a server must keep the ids,
    and the same result sent again changes nothing. A report keeps its id over all
    versions, so that a later one takes the place of the one before it. The patient
    is contained: nothing that a server knows of people is replaced.

    Parameters
    ----------
    result : StudyResult
        What was found.
    objects : sequence of ResultObject
        The objects that carry it; segments of the first profile are named.

    Returns
    -------
    dict
        FHIR R5 as JSON values. One DiagnosticReport for each report that counts, and
        one for the phrases of no report. No time is the clock's.

    """
    ids = Ids(result)
    header = study_header(result)
    shared = objects[0].profile if objects else ""
    carried = [one for one in objects if one.profile == shared]
    patient = _patient(header)
    device = _device(ids, result)
    study = _study(ids, result, carried, patient)
    about = {"contained": [patient], "subject": _subject(patient)}
    entries: list[Resource] = [device, study]
    observations: list[Resource] = []
    targets: list[tuple[str, ...]] = []
    for index, phrase in enumerate(result.phrases):
        selections = select(
            index,
            result=result,
            objects=carried,
            ids=ids,
            shared={
                **about,
                "performer": [{"actor": reference(device)}],
                "derivedFrom": [reference(study)],
            },
        )
        observation = _observation(ids, index, phrase)
        observation |= {
            **about,
            "device": reference(device),
            "partOf": [reference(study)],
        }
        if selections:
            observation["derivedFrom"] = [reference(one) for one in selections]
        entries += [*selections, observation]
        observations.append(observation)
        targets.append(tuple(f"ImagingSelection/{one['id']}" for one in selections))
    reports: list[Resource] = []
    accession = str(header.get("AccessionNumber") or "").strip()
    for name, text, links, members, note in _documents(result, targets):
        report_id = ids.lasting("report", result.study_instance_uid, name)
        report: Resource = {
            "resourceType": "DiagnosticReport",
            "id": report_id,
            **about,
            "text": {"status": "additional", "div": narrative(text, links)},
            "identifier": [uid_identifier(derive_uid("fhir report", report_id))],
            # No person has verified it, so it was never final, nor can be amended.
            "status": "modified" if result.predecessors else "preliminary",
            "code": concept(_IMAGING_REPORT),
            "effectiveDateTime": result.content_datetime.strftime("%Y-%m-%d"),
            "study": [reference(study)],
            "note": [{"text": one} for one in (_NOTICE, note, *_left_out(result))],
        }
        if accession:
            order = {"type": _ACSN, "value": accession}
            report["basedOn"] = [{"type": "ServiceRequest", "identifier": order}]
        if members:
            report["result"] = [reference(observations[index]) for index in members]
        entries.append(report)
        reports.append(report)
    if result.predecessors:
        entries.append(_provenance(ids, result, reports, device))
    return {
        "resourceType": "Bundle",
        "id": ids.of_result("bundle"),
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{one['id']}",
                "resource": one,
                "request": {
                    "method": "PUT",
                    "url": f"{one['resourceType']}/{one['id']}",
                },
            }
            for one in entries
        ],
    }


def write_fhir_json(
    result: StudyResult, objects: Sequence[ResultObject], folder: Path
) -> Path:
    """Write `make_bundle` to ``folder`` and return its path."""
    text = json.dumps(make_bundle(result, objects), indent=1, ensure_ascii=False)
    path = folder / FHIR_JSON
    write_whole(path, f"{text}\n".encode("utf-8", "replace"))
    return path


def _documents(
    result: StudyResult, targets: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, str, list[Link], list[int], str]]:
    """Yield name, text, links, indices of phrases and note of each report."""
    told: set[int] = set()
    for report in result.reports:
        if report.status is ReportStatus.CANCELLED:
            continue
        members = [
            index
            for index, one in enumerate(result.phrases)
            if one.phrase.source == report.source and index not in told
        ]
        told.update(members)
        links = [
            Link(one.start, one.end, targets[index])
            for index in members
            for one in [result.phrases[index].phrase]
            if one.start is not None and one.end is not None
        ]
        name = report.lasting_name or report.source
        yield name, report.text, links, members, _origin(report)
    rest = [index for index in range(len(result.phrases)) if index not in told]
    if rest or not result.reports:
        text, links = _listed(result, rest, targets)
        yield "phrases", text, links, rest, "Phrases that no report states."


def _listed(
    result: StudyResult, indices: Sequence[int], targets: Sequence[tuple[str, ...]]
) -> tuple[str, list[Link]]:
    """Return phrases as lines of a text, and their links."""
    text, links = "", []
    for index in indices:
        one = result.phrases[index]
        end = len(text) + len(one.phrase.text)
        links.append(Link(len(text), end, targets[index]))
        text += f"{one.phrase.text}: {one.status.value}\n"
    return text or "Nothing was asked for.", links


def _origin(report: Report) -> str:
    status = "its status is not known" if report.status is None else report.status.value
    return f"Report {report.source}: {status}."


def _left_out(result: StudyResult) -> Iterator[str]:
    for one in result.not_processed:
        what = f"Series {one.series_instance_uid}" if one.series_instance_uid else "It"
        yield f"{what} was not processed: {one.reason}."


def _provenance(
    ids: Ids, result: StudyResult, reports: Sequence[Resource], device: Resource
) -> Resource:
    """Name the DICOM objects that the reports are a revision of (FHIR R5, 6.3)."""
    return {
        "resourceType": "Provenance",
        "id": ids.of_result("provenance"),
        "target": [reference(one) for one in reports],
        "agent": [{"who": reference(device)}],
        "entity": [
            {
                "role": "revision",
                "what": {"identifier": uid_identifier(one.sop_instance_uid)},
            }
            for one in result.predecessors
        ],
    }


def _subject(patient: Resource) -> Resource:
    """Refer to the contained patient, and say who it is to those who search."""
    subject: Resource = {"reference": f"#{patient['id']}", "type": "Patient"}
    if numbers := patient.get("identifier"):
        subject["identifier"] = numbers[0]
    return subject


def _patient(header: Dataset) -> Resource:
    number = str(header.get("PatientID") or "").strip()
    issuer = str(header.get("IssuerOfPatientID") or "").strip()
    patient: Resource = {"resourceType": "Patient", "id": "patient"}
    if number:
        patient["identifier"] = [{"value": number}]
        if issuer:
            patient["identifier"][0]["assigner"] = {"display": issuer}
    parts = header.get("PatientName")
    if parts:
        family, given = str(parts.family_name).strip(), str(parts.given_name).strip()
        human: Resource = {"text": " ".join(filter(None, (given, family)))}
        human |= {"family": family} if family else {}
        human |= {"given": given.split()} if given else {}
        if human["text"]:
            patient["name"] = [human]
    return patient


def _device(ids: Ids, result: StudyResult) -> Resource:
    uid = derive_uid("device", result.model_sha256)
    return {
        "resourceType": "Device",
        "id": ids.lasting("device", result.model_sha256, __version__),
        "identifier": [uid_identifier(uid)],
        "manufacturer": MANUFACTURER,
        "modelNumber": MODEL_NAME,
        "name": [{"value": result.model_name or "unknown", "type": "registered-name"}],
        "version": [
            {"value": result.model_version or "unknown"},
            {"type": {"text": "software"}, "value": __version__},
        ],
    }


def _study(
    ids: Ids, result: StudyResult, objects: Sequence[ResultObject], patient: Resource
) -> Resource:
    """Describe the study: the images that were read, and the objects that were made."""
    series: dict[str, Resource] = {}
    for one in result.series:
        entry = series.setdefault(
            one.series_instance_uid,
            {
                "uid": one.series_instance_uid,
                "modality": _modality(one.modality or "OT"),
                "instance": [],
            },
        )
        known = {item["uid"] for item in entry["instance"]}
        for frame in one.frames:
            if frame.sop_instance_uid not in known:
                known.add(frame.sop_instance_uid)
                entry["instance"].append(
                    {
                        "uid": frame.sop_instance_uid,
                        "sopClass": sop_class(frame.sop_class_uid),
                    }
                )
    for made in objects:
        where = made.reference
        modality = next(
            name
            for prefix, name in _MODALITIES
            if where.sop_class_uid.startswith(prefix)
        )
        entry = series.setdefault(
            where.series_instance_uid,
            {
                "uid": where.series_instance_uid,
                "modality": _modality(modality),
                "instance": [],
            },
        )
        entry["instance"].append(
            {
                "uid": where.sop_instance_uid,
                "sopClass": sop_class(where.sop_class_uid),
            }
        )
    for entry in series.values():
        entry["numberOfInstances"] = len(entry["instance"])
    return {
        "resourceType": "ImagingStudy",
        "id": ids.lasting("study", result.study_instance_uid),
        "identifier": [uid_identifier(result.study_instance_uid)],
        "status": "available",
        "contained": [patient],
        "subject": _subject(patient),
        "numberOfSeries": len(series),
        "series": list(series.values()),
    }


def _modality(name: str) -> Resource:
    return concept(Code("DCM", name, name))


def _observation(ids: Ids, index: int, one: PhraseResult) -> Resource:
    phrase = one.phrase
    finding = phrase.finding
    observation: Resource = {
        "resourceType": "Observation",
        "id": ids.of_result("observation", str(index)),
        "status": "preliminary",
        "code": concept(finding.finding, text=phrase.text),
        "valueCodeableConcept": concept(_PRESENCE[one.status]),
    }
    if finding.site is not None:
        side = "" if phrase.laterality is None else f"{phrase.laterality.value} "
        text = f"{side}{finding.site.meaning}"
        observation["bodySite"] = concept(finding.site, text=text)
    numbers = (
        ("Probability that the phrase is in the images", one.score),
        ("Uncertainty of that probability", one.uncertainty),
    )
    components = [
        {
            "code": {"text": text},
            "valueQuantity": {
                "value": round(value, 6),
                "system": "http://unitsofmeasure.org",
                "code": "1",
            },
        }
        for text, value in numbers
        if value is not None
    ]
    if components:
        observation["component"] = components
    return observation
