"""A study's page: its row, its newest result.json and its reports, put together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
)

from dicom_node.objects.colours import colour_of
from dicom_node.store.corrections import Correction
from dicom_node.web.answers_study import (
    Box,
    CorrectionBrief,
    DeliveryRow,
    EventAnswer,
    ObjectAnswer,
    ObjectKind,
    PhraseAnswer,
    RegionAnswer,
    ReportAnswer,
    SeriesAnswer,
    StudyDetail,
    VersionAnswer,
)
from dicom_node.web.results import study_summary
from dicom_node.web.shown import results_name

if TYPE_CHECKING:
    from dicom_node.store.details import ShownVersion
    from dicom_node.store.pages import StudyRow
    from dicom_node.web.parts import WebParts

__all__ = ["ReportTexts", "kind_of", "study_detail"]

_WARNING = "AI - not for diagnostic use"

_KEPT = 64
"""Versions whose report texts stay in memory."""

_KINDS: dict[str, ObjectKind] = {
    KeyObjectSelectionDocumentStorage: "KO",
    EncapsulatedPDFStorage: "PDF",
}


class ReportTexts:
    """The texts of report documents and of earlier studies, read once a version.

    Only for a version whose answer cannot be read: PDF and CDA are read in a process
    of their own.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[int, list[ReportAnswer]] = OrderedDict()
        self._lock = threading.Lock()

    def of_version(self, parts: WebParts, version: ShownVersion) -> list[ReportAnswer]:
        """Return the reports among the instances of a version and of its priors."""
        with self._lock:
            known = self._kept.get(version.id)
        if known is not None:
            return known
        found = _read_documents(parts, version)
        with self._lock:
            self._kept[version.id] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def study_detail(
    parts: WebParts, row: StudyRow, version: ShownVersion | None
) -> StudyDetail:
    """Put a study's page together.

    Parameters
    ----------
    parts : WebParts
        The node.
    row : StudyRow
        The study.
    version : ShownVersion, optional
        The version with results that is shown; None: there is none yet.

    """
    details = parts.store.details
    document: dict[str, Any] = {}
    if version is not None:
        document = parts.results.document(version.result_dir) or {}
    said = {
        one.tracking_uid: one
        for one in parts.store.corrections.of_study(row.study_instance_uid)
    }
    return StudyDetail(
        study=study_summary(row, parts.results),
        shown_version=None if version is None else version.content_version,
        shown_results=None if version is None else results_name(parts, version),
        versions=[
            VersionAnswer.model_validate(one, from_attributes=True)
            for one in details.versions(row.id)
        ],
        reports=_reports(parts, row, version, document=document),
        phrases=[
            _phrase(index, one, said)
            for index, one in enumerate(document.get("phrases", ()))
        ],
        series=[_series(one) for one in document.get("series", ())],
        not_processed=document.get("not_processed", []),
        model=document.get("model"),
        warning=_WARNING,
        objects=[] if version is None else _objects(parts, version),
        deliveries=[_delivery(one) for one in details.deliveries(row.id)],
        events=[
            EventAnswer(
                at=one.at, kind=one.kind, subject=one.subject, detail=one.detail
            )
            for one in details.events(row.id)
        ],
    )


def kind_of(sop_class_uid: str) -> ObjectKind:
    """Return what a result object is, by its SOP class."""
    name = UID(sop_class_uid).name
    if sop_class_uid in _KINDS:
        return _KINDS[sop_class_uid]
    if "Presentation State" in name:
        return "PR"
    if "Segmentation" in name:
        return "SEG"
    if "SR" in name:
        return "SR"
    return "SC" if "Secondary Capture" in name else "other"


def _reports(
    parts: WebParts,
    row: StudyRow,
    version: ShownVersion | None,
    *,
    document: dict[str, Any],
) -> list[ReportAnswer]:
    kept = [
        ReportAnswer(
            source=f"{one.channel}:{one.report_id}",
            channel=one.channel,
            status=one.status,
            text=one.text,
            received_at=one.received_at,
            is_current=one.is_current,
            is_prior=False,
            study_date=None,
        )
        for one in parts.store.reports.of_study(row.study_instance_uid)
    ]
    if version is None:
        return kept
    if "reports" in document:
        return [*kept, *_stated_documents(document)]
    return [*kept, *parts.report_texts.of_version(parts, version)]


def _stated_documents(document: dict[str, Any]) -> list[ReportAnswer]:
    """Return the report documents and the earlier reports that an answer read."""
    found = [
        _document(one["source"], one["text"], one["status"])
        for one in document["reports"]
        # What was sent is told by the store, with all that it replaced.
        if one["sop_instance_uid"] is not None
    ]
    for prior in document.get("priors", ()):
        found.extend(
            _document(
                one["source"],
                one["text"],
                one["status"],
                study_date=prior["study_date"],
            )
            for one in prior["reports"]
        )
    return found


def _read_documents(parts: WebParts, version: ShownVersion) -> list[ReportAnswer]:
    # Imported here: the node listens before all this is loaded.
    from dicom_node.reports import find_reports

    instances = parts.store.work.version_instances(version.id, data_dir=parts.data_dir)
    own, _ = find_reports(instances)
    found = [_document(one.source, one.text, one.status) for one in own]
    for prior in parts.store.details.priors(version.id, data_dir=parts.data_dir):
        documents, _ = find_reports(prior.instances)
        found.extend(
            _document(
                f"prior:{one.source}", one.text, one.status, study_date=prior.study_date
            )
            for one in (*prior.reports, *documents)
        )
    return found


def _document(
    source: str, text: str, status: str | None, *, study_date: str | None = None
) -> ReportAnswer:
    return ReportAnswer(
        source=source,
        channel=source.removeprefix("prior:").partition(":")[0],
        status=status,
        text=text,
        received_at=None,
        is_current=True,
        is_prior=study_date is not None,
        study_date=study_date,
    )


def _phrase(
    index: int, one: dict[str, Any], said: dict[str, Correction]
) -> PhraseAnswer:
    return PhraseAnswer(
        index=index,
        text=one["text"],
        source=one["source"],
        span=one["span"],
        section=one.get("section"),
        status=one["status"],
        is_stated=one.get("is_stated", True),
        code=one["code"],
        site=one["site"],
        laterality=one["laterality"],
        score=one["score"],
        uncertainty=one["uncertainty"],
        regions=[
            _region(index, outline, one["regions"], said)
            for outline in one.get("outlines", ())
        ],
    )


def _region(
    index: int,
    outline: dict[str, Any],
    boxes: list[dict[str, Any]],
    said: dict[str, Correction],
) -> RegionAnswer:
    red, green, blue = colour_of(index)
    uid = outline["tracking_uid"]
    last = said.get(uid)
    return RegionAnswer(
        tracking_uid=uid,
        series=outline["series"],
        colour=f"#{red:02x}{green:02x}{blue:02x}",
        score=outline["score"],
        uncertainty=outline["uncertainty"],
        first_frame=outline["first_frame"],
        best_frame=outline["best_frame"],
        last_frame=outline["last_frame"],
        boxes=[
            Box(frame=one["frame_index"], xyxy=one["box_xyxy"], score=one["score"])
            for one in boxes
            if one["tracking_uid"] == uid
        ],
        segment=outline["seg"],
        correction=None
        if last is None
        else CorrectionBrief(
            action=last.action, person=last.person, at=last.at, comment=last.comment
        ),
    )


def _series(one: dict[str, Any]) -> SeriesAnswer:
    return SeriesAnswer(
        index=one["index"],
        series_instance_uid=one["series_instance_uid"],
        stack_number=one["stack_number"],
        modality=one["modality"],
        description=one["description"],
        body_part=one["body_part"],
        frames=len(one["frames"]),
        rows=one["rows"],
        columns=one["columns"],
        is_colour=one["is_colour"],
        pixel_spacing_mm=one["pixel_spacing_mm"],
        pixel_aspect=one["pixel_aspect"],
        sides=one["sides"],
        windows=one["windows"],
        **one["display"],
    )


def _objects(parts: WebParts, version: ShownVersion) -> list[ObjectAnswer]:
    return [
        ObjectAnswer(
            sop_instance_uid=one.sop_instance_uid,
            kind=kind_of(one.sop_class_uid),
            profile=one.profile,
            size_bytes=_size(parts.data_dir / one.path),
            transfer_syntax_uid=one.transfer_syntax_uid,
        )
        for one in parts.store.details.results(version.id)
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _delivery(one: Any) -> DeliveryRow:
    return DeliveryRow(
        destination=one.destination,
        sop_instance_uid=one.sop_instance_uid,
        kind=kind_of(one.sop_class_uid),
        state=one.state,
        attempts=one.attempts,
        last_status=one.last_status,
        last_comment=one.last_comment,
        last_attempt_at=one.last_attempt_at,
        next_attempt_at=one.next_attempt_at,
        delivered_at=one.delivered_at,
    )
