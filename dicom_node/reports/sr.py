"""Reports that come as DICOM structured reports: read, flattened to text.

The text keeps the order of the document: a heading line for each section, then its
items, one a paragraph. It is made once and every span counts its characters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ReceiveError, ReportError
from dicom_node.header import read_header
from dicom_node.quiet import quiet
from dicom_node.records import ReportStatus
from dicom_node.reports.flat_text import FlatText, clean
from dicom_node.reports.sections import SectionKind, section_kind
from dicom_node.reports.titles import is_english, section_title

__all__ = [
    "SR_SOP_CLASSES",
    "UNREADABLE",
    "ReportDocument",
    "read_document",
    "report_text",
]

SR_SOP_CLASSES = frozenset(
    {
        uid.BasicTextSRStorage,
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
    }
)
"""The SOP classes that a radiologist's report comes in (PS3.4 B.5)."""

_MAX_BYTES = 4 << 20
"""Largest document that is read; a report of 100,000 words is smaller."""

_MAX_ITEMS = 20_000
"""Most content items that are read of one document."""

_MEASUREMENT_REPORTS = frozenset({("DCM", "126000"), ("DCM", "126001")})
"""Document titles (CID 7021) of measurements, by people or machines: no narrative."""

_CONTEXT = frozenset({"HAS OBS CONTEXT", "HAS CONCEPT MOD", "HAS ACQ CONTEXT"})
"""Relationships of items that qualify others and state nothing (PS3.3 C.17.3.2.4)."""

_LANGUAGE = ("DCM", "121049")

UNREADABLE = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom raises for bytes that are no data set, or values that are none."""


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """What a report document says."""

    text: str
    status: ReportStatus | None
    replaces: frozenset[str]
    """SOP Instance UIDs of the documents that it supersedes (PS3.3 C.17.2.1)."""


def report_text(ds: Dataset) -> str:
    """Flatten the content tree of a report document to text (PS3.3 C.17.3).

    Parameters
    ----------
    ds : pydicom.Dataset
        A document of one of `SR_SOP_CLASSES`.

    Raises
    ------
    ReportError
        It has no content tree, states no text, or says that it is not in English.

    """
    if "ContentSequence" not in ds:
        msg = "the report document has no content"
        raise ReportError(msg)
    text = FlatText()
    for item, title in _walk(ds):
        if str(item.get("ValueType", "")) == "CONTAINER":
            text.label = "" if _own_title(item) else _label(item)
        else:
            text.add(_statement(item), title)
    if not text.has_statements:
        msg = "the report document holds no report text"
        raise ReportError(msg)
    return str(text)


def read_document(path: Path) -> ReportDocument | None:
    """Read a report document from its file; None when it is no report.

    Raises
    ------
    ReportError
        It cannot be read; the message quotes nothing.

    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            msg = "the report document is too large to be a report"
            raise ReportError(msg)
        # The header reader refuses what would exhaust pydicom's stack.
        if read_header(path).is_own_result:
            return None
        # pydicom's warnings quote values, which may be about a patient, to stderr.
        with quiet():
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            if _concept(ds) in _MEASUREMENT_REPORTS:
                return None
            replaces = frozenset(_predecessors(ds))
            return ReportDocument(report_text(ds), _status(ds, replaces), replaces)
    except ReceiveError as error:
        msg = f"the report document cannot be read: {error}"
        raise ReportError(msg) from error
    except UNREADABLE as error:
        msg = f"the report document cannot be read ({type(error).__name__})"
        raise ReportError(msg) from error


def _status(ds: Dataset, replaces: frozenset[str]) -> ReportStatus | None:
    """Return how far a document is, by what PS3.3 C.17.2 lets it say."""
    if str(ds.get("PreliminaryFlag", "")) == "PRELIMINARY":
        return ReportStatus.PRELIMINARY
    if replaces:
        return ReportStatus.CORRECTED
    is_final = str(ds.get("PreliminaryFlag", "")) == "FINAL"
    return ReportStatus.FINAL if is_final else None


def _predecessors(ds: Dataset) -> Iterator[str]:
    for study in ds.get("PredecessorDocumentsSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for one in series.get("ReferencedSOPSequence") or ():
                yield str(one.get("ReferencedSOPInstanceUID", ""))


def _walk(root: Dataset) -> Iterator[tuple[Dataset, str]]:
    """Yield content items in document order, each with the title of its section."""
    language = _language(root)
    if not is_english(language):
        msg = "the report document is not in English"
        raise ReportError(msg)
    stack = [(item, "") for item in reversed(_children(root))]
    count = 0
    while stack:
        item, inherited = stack.pop()
        count += 1
        if count > _MAX_ITEMS:
            msg = "the report document has too many content items"
            raise ReportError(msg)
        if str(item.get("RelationshipType", "")) in _CONTEXT:
            continue
        title = inherited
        if section_kind(inherited) is not SectionKind.OTHER:
            # A "Finding" under "History" is history.
            title = _own_title(item) or inherited
        yield item, title
        stack.extend((child, title) for child in reversed(_children(item)))


def _own_title(item: Dataset) -> str:
    """Return the section that an item's concept names, by its code or its words."""
    title = section_title(*_concept(item))
    if title is None and str(item.get("ValueType", "")) == "CONTAINER":
        label = _label(item)
        title = label if section_kind(label) is not None else None
    return title or ""


def _children(item: Dataset) -> list[Dataset]:
    content = item.get("ContentSequence")
    return [one for one in content if isinstance(one, Dataset)] if content else []


def _language(root: Dataset) -> str:
    for item in _children(root):
        if _concept(item) == _LANGUAGE:
            codes = item.get("ConceptCodeSequence")
            if codes:
                return str(codes[0].get("CodeValue", ""))
    return ""


def _concept(item: Dataset) -> tuple[str, str]:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return ("", "")
    first = names[0]
    return (
        str(first.get("CodingSchemeDesignator", "") or ""),
        str(first.get("CodeValue", "") or ""),
    )


def _label(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return clean(names[0].get("CodeMeaning", "")) if names else ""


def _statement(item: Dataset) -> str:
    """Return what a TEXT, CODE or NUM item says."""
    kind = str(item.get("ValueType", ""))
    is_known = section_title(*_concept(item)) is not None
    label = "" if is_known else _label(item)
    if kind == "TEXT":
        # Text is a statement of its own; what it is called adds nothing to it.
        return clean(item.get("TextValue", ""))
    if kind == "CODE":
        codes = item.get("ConceptCodeSequence")
        value = clean(codes[0].get("CodeMeaning", "")) if codes else ""
        return f"{label}: {value}." if label and value else value and f"{value}."
    if kind == "NUM":
        values = item.get("MeasuredValueSequence")
        if not values:
            return ""
        units = values[0].get("MeasurementUnitsCodeSequence")
        unit = clean(units[0].get("CodeValue", "")) if units else ""
        number = clean(values[0].get("NumericValue", ""))
        return f"{label or 'Measurement'}: {number} {unit}." if number else ""
    return ""
