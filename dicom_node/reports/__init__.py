"""Where phrases come from: reports, arguments and, without any, a vocabulary."""

from __future__ import annotations

from dicom_node.reports.collect import collect_phrases
from dicom_node.reports.document import make_report_document
from dicom_node.reports.document_reader import DocumentReader
from dicom_node.reports.find import REPORT_SOP_CLASSES, find_reports
from dicom_node.reports.gather import StudyReports, gather_reports
from dicom_node.reports.phrases import extract_phrases, phrase_from_text
from dicom_node.reports.tags import find_tag_reports
from dicom_node.reports.text import read_report_text
from dicom_node.reports.vocabulary import vocabulary

__all__ = [
    "REPORT_SOP_CLASSES",
    "DocumentReader",
    "StudyReports",
    "collect_phrases",
    "extract_phrases",
    "find_reports",
    "find_tag_reports",
    "gather_reports",
    "make_report_document",
    "phrase_from_text",
    "read_report_text",
    "vocabulary",
]
