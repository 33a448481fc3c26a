"""Reports that come as DICOM structured reports: found, read, flattened to text.

The text keeps the order of the document: a heading line for each section, then its
items, one a paragraph. It is made once and every span counts its characters.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ReceiveError, ReportError
from dicom_node.header import read_header
from dicom_node.records import NotProcessed, Report, StoredInstance
from dicom_node.reports.sections import SectionKind, section_kind
from dicom_node.reports.words import read_table

__all__ = ["REPORT_SOP_CLASSES", "find_reports", "report_text", "section_title"]

REPORT_SOP_CLASSES = frozenset(
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
_ENGLISH = ("en", "eng", "")

_UNREADABLE = (
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


def find_reports(
    instances: Sequence[StoredInstance],
) -> tuple[tuple[Report, ...], tuple[NotProcessed, ...]]:
    """Read the reports among a study's instances.

    Parameters
    ----------
    instances : sequence of StoredInstance
        The study. Other objects, measurement reports and results of this node are
        passed over.

    Returns
    -------
    tuple of Report
        In the order of the instances.
    tuple of NotProcessed
        Documents that should hold a report and could not be read, and why.

    """
    reports: list[Report] = []
    left_out: list[NotProcessed] = []
    for one in instances:
        if one.sop_class_uid not in REPORT_SOP_CLASSES:
            continue
        try:
            text = _read_document(one)
        except ReportError as error:
            left_out.append(NotProcessed(one.series_instance_uid, str(error)))
            continue
        if text is not None:
            reports.append(
                Report(
                    text=text,
                    source=f"sr:{one.sop_instance_uid}",
                    sop_instance_uid=one.sop_instance_uid,
                    sop_class_uid=one.sop_class_uid,
                    series_instance_uid=one.series_instance_uid,
                )
            )
    return tuple(reports), tuple(left_out)


def report_text(ds: Dataset) -> str:
    """Flatten the content tree of a report document to text (PS3.3 C.17.3).

    Parameters
    ----------
    ds : pydicom.Dataset
        A document of one of `REPORT_SOP_CLASSES`.

    Raises
    ------
    ReportError
        It has no content tree, states no text, or says that it is not in English.

    """
    if "ContentSequence" not in ds:
        msg = "the report document has no content"
        raise ReportError(msg)
    text = _Text()
    for item, title in _walk(ds):
        text.add(item, title)
    if not text.has_statements:
        msg = "the report document holds no report text"
        raise ReportError(msg)
    return "".join(text.parts)


def section_title(scheme: str, code: str) -> str | None:
    """Return the title of the section that a concept names (CID 7001, 7002)."""
    return _titles().get((scheme, code))


def _read_document(one: StoredInstance) -> str | None:
    """Return a document's text, or None when it is no report."""
    try:
        if one.path.stat().st_size > _MAX_BYTES:
            msg = "the report document is too large to be a report"
            raise ReportError(msg)
        # The header reader refuses what would exhaust pydicom's stack.
        if read_header(one.path).is_own_result:
            return None
        # pydicom's warnings quote values, which may be about a patient, to stderr.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(one.path, stop_before_pixels=True)
            if _concept(ds) in _MEASUREMENT_REPORTS:
                return None
            return report_text(ds)
    except ReceiveError as error:
        msg = f"the report document cannot be read: {error}"
        raise ReportError(msg) from error
    except _UNREADABLE as error:
        msg = f"the report document cannot be read ({type(error).__name__})"
        raise ReportError(msg) from error


@dataclass
class _Text:
    """The text as it grows."""

    parts: list[str] = field(default_factory=list)
    title: str = ""
    label: str = ""
    """What an unknown container is called: said before the first thing in it."""
    has_statements: bool = False

    def add(self, item: Dataset, title: str) -> None:
        """Append what one content item says, in the section of that title."""
        if str(item.get("ValueType", "")) == "CONTAINER":
            self.label = "" if _own_title(item) else _label(item)
            return
        statement = _statement(item)
        if not statement:
            return
        # A section without a known title must not fall into the one before it.
        title = title or ("Report" if self.title else "")
        if title and title != self.title:
            self.parts.append(f"{title.upper()}:\n")
            self.title = title
        label = f"{self.label}: " if self.label else ""
        self.parts.append(f"{label}{statement}\n\n")
        self.label = ""
        self.has_statements = True


def _walk(root: Dataset) -> Iterator[tuple[Dataset, str]]:
    """Yield content items in document order, each with the title of its section."""
    language = _language(root)
    if language.lower().split("-")[0] not in _ENGLISH:
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
    return _clean(names[0].get("CodeMeaning", "")) if names else ""


def _statement(item: Dataset) -> str:
    """Return what a TEXT, CODE or NUM item says."""
    kind = str(item.get("ValueType", ""))
    is_known = section_title(*_concept(item)) is not None
    label = "" if is_known else _label(item)
    if kind == "TEXT":
        # Text is a statement of its own; what it is called adds nothing to it.
        return _clean(item.get("TextValue", ""))
    if kind == "CODE":
        codes = item.get("ConceptCodeSequence")
        value = _clean(codes[0].get("CodeMeaning", "")) if codes else ""
        return f"{label}: {value}." if label and value else value and f"{value}."
    if kind == "NUM":
        values = item.get("MeasuredValueSequence")
        if not values:
            return ""
        units = values[0].get("MeasurementUnitsCodeSequence")
        unit = _clean(units[0].get("CodeValue", "")) if units else ""
        number = _clean(values[0].get("NumericValue", ""))
        return f"{label or 'Measurement'}: {number} {unit}." if number else ""
    return ""


def _clean(value: object) -> str:
    """Return text with plain line ends and without control characters."""
    text = str(value if value is not None else "")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n")
    return "".join(one for one in text if one in "\n\t" or ord(one) >= 32).strip()


@cache
def _titles() -> dict[tuple[str, str], str]:
    return {
        (row["scheme"], row["code"]): row["title"]
        for row in read_table("sr_headings.csv")
    }
