"""Reports that come as documents of the study: found, read, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import uid

from dicom_node.errors import ReceiveError, ReportError
from dicom_node.header import read_header
from dicom_node.records import NotProcessed, Report, StoredInstance
from dicom_node.reports.document_reader import DocumentReader
from dicom_node.reports.sr import SR_SOP_CLASSES, ReportDocument, read_document

__all__ = ["REPORT_SOP_CLASSES", "find_reports"]

_ENCAPSULATED = {
    uid.EncapsulatedPDFStorage: "pdf",
    uid.EncapsulatedCDAStorage: "cda",
}

REPORT_SOP_CLASSES = SR_SOP_CLASSES | frozenset(_ENCAPSULATED)
"""The SOP classes of documents that may hold a report (PS3.4 B.5)."""

_MAX_BYTES = 64 << 20
"""Largest encapsulated document that is read; scans may be larger and hold no text."""


def find_reports(
    instances: Sequence[StoredInstance], documents: DocumentReader | None = None
) -> tuple[tuple[Report, ...], tuple[NotProcessed, ...]]:
    """Read the reports among a study's instances.

    Parameters
    ----------
    instances : sequence of StoredInstance
        The study. Other objects, measurement reports, results of this node and
        documents that another one of the study supersedes are passed over.
    documents : DocumentReader, optional
        Reads PDF and CDA; one of its own, for this call, when absent.

    Returns
    -------
    tuple of Report
        In the order of the instances.
    tuple of NotProcessed
        Documents that should hold a report and could not be read, and why.

    """
    if documents is None:
        with DocumentReader() as own:
            return find_reports(instances, own)
    reports: list[Report] = []
    left_out: list[NotProcessed] = []
    replaced: set[str] = set()
    for one in instances:
        if one.sop_class_uid not in REPORT_SOP_CLASSES:
            continue
        kind = _ENCAPSULATED.get(uid.UID(one.sop_class_uid), "sr")
        try:
            found = (
                read_document(one.path)
                if kind == "sr"
                else _read_encapsulated(one, kind, documents)
            )
        except ReportError as error:
            left_out.append(NotProcessed(one.series_instance_uid, str(error)))
            continue
        if found is None:
            continue
        replaced |= found.replaces - {one.sop_instance_uid}
        reports.append(
            Report(
                text=found.text,
                source=f"{kind}:{one.sop_instance_uid}",
                sop_instance_uid=one.sop_instance_uid,
                sop_class_uid=one.sop_class_uid,
                series_instance_uid=one.series_instance_uid,
                status=found.status,
            )
        )
    current = [one for one in reports if one.sop_instance_uid not in replaced]
    # Documents that name each other are all as good as each other.
    return tuple(current or reports), tuple(left_out)


def _read_encapsulated(
    one: StoredInstance, kind: str, documents: DocumentReader
) -> ReportDocument | None:
    what = f"the {kind.upper()} document"
    try:
        if one.path.stat().st_size > _MAX_BYTES:
            raise ReportError(f"{what} is too large to be a report")
        # The header reader refuses what would exhaust pydicom's stack.
        if read_header(one.path).is_own_result:
            return None
    except (OSError, ReceiveError) as error:
        raise ReportError(f"{what} cannot be read") from error
    text = documents.read(one.path, kind=kind)
    return ReportDocument(text, status=None, replaces=frozenset())
