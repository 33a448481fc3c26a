"""Documents inside a message: OBX-5 of type ED (HL7 v2 chapter 2.A.24)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable

from dicom_node.errors import ReportError, ReportRefusedError
from dicom_node.hl7.message import Segment
from dicom_node.hl7.tables import WITHDRAWN
from dicom_node.reports.text import decode_report

__all__ = ["PdfReader", "embedded_text"]

PdfReader = Callable[[bytes], str]
"""Returns the text of a PDF, or raises ReportError."""

_PDF = b"%PDF-"
_TEXT_KINDS = frozenset({"TEXT", "TXT", "PLAIN", "TX"})


def embedded_text(
    observations: Iterable[Segment], *, read_pdf: PdfReader | None
) -> str:
    """Return the text of the documents in the rows of a report.

    Parameters
    ----------
    observations : iterable of Segment
        OBX; those that are withdrawn do not count.
    read_pdf : callable, optional
        Reads a PDF; None: none is read.

    Raises
    ------
    ReportRefusedError
        There is no document, or one that cannot be read.

    """
    texts = [
        _text(one, read_pdf)
        for one in observations
        if one.component(2).upper() == "ED"
        and one.component(11).upper() not in WITHDRAWN
    ]
    text = "\n\n".join(filter(None, texts))
    if not text:
        msg = "the report has no text"
        raise ReportRefusedError(msg, code=101, field="OBX-5")
    return text


def _text(observation: Segment, read_pdf: PdfReader | None) -> str:
    parts = [*observation.components(5), *[""] * 5]
    kinds = {parts[1].upper(), parts[2].upper()}
    if parts[3].upper() != "BASE64":
        msg = "the embedded document is not in Base64"
        raise ReportRefusedError(msg, code=102, field="OBX-5")
    try:
        data = base64.b64decode("".join(parts[4].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        msg = "the embedded document is not in Base64"
        raise ReportRefusedError(msg, code=102, field="OBX-5") from error
    try:
        if data.startswith(_PDF) and read_pdf is not None:
            return read_pdf(data)
        if kinds & _TEXT_KINDS:
            return decode_report(data)
    except ReportError as error:
        raise ReportRefusedError(str(error), code=102, field="OBX-5") from error
    msg = "the report is an encapsulated document that is neither text nor PDF"
    raise ReportRefusedError(msg, code=102, field="OBX-5")
