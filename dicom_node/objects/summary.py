"""The PDF summary: what was looked for, what was found, and what was not processed."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image as Pictures
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedPDFStorage
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Image, SimpleDocTemplate, Spacer, Table, TableStyle

from dicom_node import __version__
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.objects.common import NOT_FOR_DIAGNOSIS, clean_text, display_colour
from dicom_node.objects.document_text import needs_reader_font, paragraph, style
from dicom_node.objects.outcomes import (
    left_out,
    outcome,
    percent,
    phrase_text,
    places,
)
from dicom_node.objects.references import hierarchy, source_instance
from dicom_node.objects.study_module import copy_study_modules
from dicom_node.objects.whole import begin, complete

if TYPE_CHECKING:
    from dicom_node.objects.capture import Picture
    from dicom_node.objects.common import Making

__all__ = ["make_summary"]

_TITLE = "Report phrases found in the images"
_MARGIN = 15 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_PICTURE_PIXELS = 1100
"""The longer side of a picture in the document: what a sheet of paper holds."""

_COLUMNS_MM = (9, 49, 37, 31, 13, 18, 23)
_HEADS = ("No.", "Phrase", "Outcome", "Code", "Score", "Uncertainty", "Frames")


def make_summary(
    making: Making, pictures: Sequence[Picture], *, series_number: int, more: int
) -> Dataset:
    """Make the encapsulated PDF of a result (PS3.3 A.45.1).

    Parameters
    ----------
    making : Making
        The result.
    pictures : sequence of Picture
        The painted key frames.
    series_number : int
        Series Number.
    more : int
        Key frames that are left out.

    """
    ds = begin(
        making,
        EncapsulatedPDFStorage,
        series=("pdf",),
        modality="DOC",
        series_number=series_number,
        instance_number=1,
        what="summary",
    )
    ds.ConversionType = "WSD"
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.DocumentTitle = f"{NOT_FOR_DIAGNOSIS}: {_TITLE}"
    name = codes.DCM.ImagingMeasurementReport
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = name.value, name.scheme_designator
    item.CodeMeaning = name.meaning
    ds.ConceptNameCodeSequence = [item]
    ds.VerificationFlag = "UNVERIFIED"
    frames = {
        frame.sop_instance_uid: frame
        for series in making.result.series
        for frame in series.frames
    }
    if frames:
        ds.SourceInstanceSequence = [source_instance(one) for one in frames.values()]
    superseded = [
        one
        for one in making.result.predecessors
        if one.sop_class_uid == EncapsulatedPDFStorage
    ]
    if superseded:
        ds.PredecessorDocumentsSequence = hierarchy(superseded)
    data = _render(making, pictures, more=more)
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(data)
    ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    complete(making, ds)
    return ds


def _render(making: Making, pictures: Sequence[Picture], *, more: int) -> bytes:
    """Return the bytes of the document: the same for the same result."""
    file = BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN + 5 * mm,
        title=_TITLE,
        author=MANUFACTURER,
        subject=NOT_FOR_DIAGNOSIS,
        creator=f"{MODEL_NAME} {__version__}",
        invariant=1,
        pageCompression=1,
    )
    story = [*_head(making), *_phrases(making), *_sources(making)]
    story += _shown(pictures, more=more)
    document.build(story, onFirstPage=_mark_page, onLaterPages=_mark_page)
    return file.getvalue()


def _head(making: Making) -> list[Any]:
    title = style("title", fontSize=15, leading=19)
    warning = style("warning", fontSize=12, leading=16, textColor=colors.red)
    patient = Dataset()
    copy_study_modules(making.source, patient, ())

    def of(keyword: str) -> str:
        return clean_text(str(patient.get(keyword) or "")).replace("^", " ").strip()

    result = making.result
    return [
        paragraph(_TITLE, title),
        paragraph(NOT_FOR_DIAGNOSIS, warning),
        *_lines(
            f"Patient: {of('PatientName') or '-'}, ID {of('PatientID') or '-'}, "
            f"born {of('PatientBirthDate') or '-'}",
            f"Study: {of('StudyDate') or '-'}, accession number "
            f"{of('AccessionNumber') or '-'}, {result.study_instance_uid}",
            f"Model: {making.algorithm_name} {making.algorithm_version}, "
            f"SHA-256 {result.model_sha256 or 'unknown'}",
            f"Made by: {MODEL_NAME} {__version__}, configuration SHA-256 "
            f"{result.configuration_sha256 or 'unknown'}",
        ),
        Spacer(0, 4 * mm),
    ]


def _phrases(making: Making) -> list[Any]:
    result = making.result
    if not result.phrases:
        return _lines("No region is drawn: there was no phrase to look for.")
    small = style("small", fontSize=7, leading=9)
    rows = [[paragraph(head, small) for head in _HEADS]]
    look: list[tuple[Any, ...]] = [
        ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
        ("BACKGROUND", (0, 0), (-1, 0), colors.lightgrey),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *((f"{side}PADDING", (0, 0), (-1, -1), 2) for side in ("LEFT", "RIGHT")),
    ]
    for index, one in enumerate(result.phrases):
        code = one.phrase.finding.finding
        cells = (
            str(index + 1),
            phrase_text(one, index),
            outcome(one),
            f"{clean_text(code.meaning)} ({code.value}, {code.scheme})",
            percent(one.score),
            "-" if one.uncertainty is None else f"{float(one.uncertainty):.3f}",
            places(one, result.series),
        )
        rows.append([paragraph(cell, small) for cell in cells])
        if one.regions:
            red, green, blue = (part / 255 for part in display_colour(index).to_rgb())
            shade = colors.Color(red, green, blue)
            look.append(("LINEBEFORE", (0, index + 1), (0, index + 1), 4, shade))
    table = Table(
        rows,
        colWidths=[width * mm for width in _COLUMNS_MM],
        repeatRows=1,
        splitInRow=1,
        style=TableStyle(look),
    )
    found = []
    if any(needs_reader_font(one.phrase.text) for one in result.phrases):
        found += _lines(
            "Chinese, Japanese and Korean letters are shown by fonts of the reader; "
            "where it has none, they can be copied from here as text."
        )
    if not any(one.regions for one in result.phrases):
        found += _lines("No region is drawn.")
    return [*found, table, Spacer(0, 4 * mm)]


def _sources(making: Making) -> list[Any]:
    result = making.result
    lines = [
        f"Series {number}: {one.modality}, {len(one.frames)} frames, "
        f"{clean_text(one.series_description) or 'no description'}, "
        f"{one.series_instance_uid}"
        for number, one in enumerate(result.series, start=1)
    ]
    reports = [
        f"Report: {clean_text(one.source)}, "
        f"{'status not told' if one.status is None else one.status.value}"
        for one in result.reports
    ]
    reasons = left_out(result)
    return [
        *_lines("Looked at:", *(lines or ["no series"]), *reports),
        Spacer(0, 2 * mm),
        *_lines("Not processed:", *(reasons or ["nothing was left out"])),
        Spacer(0, 4 * mm),
    ]


def _shown(pictures: Sequence[Picture], *, more: int) -> list[Any]:
    found: list[Any] = []
    for one in pictures:
        if one.key is None:
            continue
        picture = one.image.copy()
        picture.thumbnail((_PICTURE_PIXELS, _PICTURE_PIXELS), Pictures.Resampling.BOX)
        file = BytesIO()
        picture.save(file, format="PNG")
        file.seek(0)
        room = min(_WIDTH / picture.width, (A4[1] - 4 * _MARGIN) / picture.height)
        found += [
            Image(file, width=picture.width * room, height=picture.height * room),
            Spacer(0, 4 * mm),
        ]
    if more:
        found += _lines(f"{more} more key frames are not shown as pictures.")
    return found


def _lines(*texts: str) -> list[Any]:
    plain = style("plain", fontSize=8, leading=11)
    return [paragraph(text, plain) for text in texts]


def _mark_page(canvas: Canvas, document: SimpleDocTemplate) -> None:
    canvas.setFont("DejaVuSans", 8)
    canvas.drawCentredString(
        A4[0] / 2, 10 * mm, f"{NOT_FOR_DIAGNOSIS} - page {document.page}"
    )
