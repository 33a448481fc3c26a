"""Reports in PDF and CDA documents, and documents that would harm their reader."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.errors import ReportError
from dicom_node.identity import MANUFACTURER, MODEL_NAME
from dicom_node.records import PhraseStatus, ReportStatus
from dicom_node.reports import DocumentReader, extract_phrases, find_reports
from dicom_node.reports.cda import cda_text
from dicom_node.reports.pdf import pdf_text
from tests.builders.documents import encapsulated, make_cda, make_pdf
from tests.builders.reports import make_basic_text_sr, store_document

LINES = (
    "INDICATION: Fever, rule out abscess.",
    "FINDINGS: There is a small right pleural effusion. No pneumothorax is seen in",
    "either lung.",
    "---",
    "IMPRESSION: Hepatomegaly.",
)

CDA = make_cda(
    """<component><section><title>Clinical information</title>
      <text>Rule out abscess.</text></section></component>
    <component><section><title>Findings</title><text>
      <paragraph>Small <content styleCode="Bold">right
        pleural effusion</content>.</paragraph>
      <list><item>Hepatomegaly</item><item>No pneumothorax</item></list>
      <paragraph><content revised="delete">Left kidney stone.</content>
        <content revised="insert">Right kidney stone.</content></paragraph>
      <renderMultiMedia referencedObject="a"><caption>ascites</caption>
      </renderMultiMedia></text></section></component>"""
)


@pytest.fixture(scope="module")
def documents() -> Iterator[DocumentReader]:
    with DocumentReader() as reader:
        yield reader


def read(
    ds: Dataset, folder: Path, documents: DocumentReader
) -> tuple[list[str], list[str]]:
    """Return the texts that are found and the reasons that are told."""
    reports, left_out = find_reports([store_document(ds, folder)], documents)
    return [one.text for one in reports], [one.reason for one in left_out]


def test_phrases_of_a_pdf_know_their_document_and_their_place(
    tmp_path: Path, documents: DocumentReader
) -> None:
    stored = store_document(encapsulated(make_pdf(LINES)), tmp_path)

    (report,), left_out = find_reports([stored], documents)
    phrases = extract_phrases(report)

    assert left_out == ()
    assert report.source == f"pdf:{stored.sop_instance_uid}"
    assert report.is_document
    assert [(one.text, one.status) for one in phrases] == [
        ("small right pleural effusion", PhraseStatus.PRESENT),
        ("pneumothorax is seen in\neither lung", PhraseStatus.ABSENT),
        ("Hepatomegaly", PhraseStatus.PRESENT),
    ]
    for one in phrases:
        assert report.text[one.start : one.end] == one.text


def test_phrases_of_a_cda_document_are_those_of_its_narrative(
    tmp_path: Path, documents: DocumentReader
) -> None:
    stored = store_document(encapsulated(CDA, kind="cda"), tmp_path)

    (report,), left_out = find_reports([stored], documents)

    assert left_out == ()
    assert report.source == f"cda:{stored.sop_instance_uid}"
    assert report.text == (
        "CLINICAL INFORMATION:\nRule out abscess.\n\n"
        "FINDINGS:\nSmall right pleural effusion.\n- Hepatomegaly\n"
        "- No pneumothorax\nRight kidney stone.\n\n"
    )
    found = {one.text: one.status for one in extract_phrases(report)}
    assert found["pneumothorax"] is PhraseStatus.ABSENT
    assert "abscess" not in " ".join(found)
    assert "Hidden" not in report.text


def test_sections_of_a_cda_document_are_known_by_code_and_keep_their_parents() -> None:
    text = cda_text(
        make_cda(
            """<component><section>
              <code code="19005-8" codeSystem="2.16.840.1.113883.6.1"/>
              <title>Eindruck</title><text>Ascites.</text></section></component>
            <component><section><title>History</title><component><section>
              <title>Findings</title><text>Old stroke.</text></section></component>
            </section></component>
            <component><section><title>Liver</title><text>Hepatomegaly.</text>
            </section></component>"""
        )
    )

    assert text == (
        "IMPRESSION:\nAscites.\n\nHISTORY:\nOld stroke.\n\n"
        "REPORT:\nLiver: Hepatomegaly.\n\n"
    )


@pytest.mark.parametrize("media", ["text/plain", "application/pdf"])
def test_a_cda_document_without_xml_is_read_too(media: str) -> None:
    content = b"FINDINGS: Ascites."
    if media == "application/pdf":
        content = make_pdf(["FINDINGS: Ascites."])
    document = f"""<ClinicalDocument xmlns="urn:hl7-org:v3"><component><nonXMLBody>
      <text mediaType="{media}" representation="B64">
      {base64.b64encode(content).decode()}</text></nonXMLBody></component>
      </ClinicalDocument>"""

    assert cda_text(document.encode()).strip() == "FINDINGS: Ascites."


def test_a_pdf_that_is_only_locked_against_changes_is_read(tmp_path: Path) -> None:
    assert "Hepatomegaly" in pdf_text(make_pdf(LINES, owner="owner"))


def _bomb() -> bytes:
    """Return a PDF whose page is a stream that grows two hundredfold, and more."""
    packed = zlib.compress(b"BT /F1 9 Tf (x) Tj ET\n" * 40_000_000, 9)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
        b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream"
        % (len(packed), packed),
    ]
    body = b"%PDF-1.4\n"
    for number, one in enumerate(objects, 1):
        body += b"%d 0 obj%s endobj\n" % (number, one)
    return body + b"trailer<</Root 1 0 R/Size 5>>"


HARM = {
    "a secret password": (make_pdf(LINES, password="secret"), "the PDF is encrypted"),
    "a scan": (make_pdf(["---"]), "the PDF holds no text: it may be a scan"),
    "no PDF": (b"\x89PNG not a document", "the PDF cannot be read"),
    "half a PDF": (make_pdf(LINES)[:300], "the PDF"),
    "too many pages": (make_pdf(["a", "---"] * 201), "more than 200 pages"),
    "nothing": (b"", "the object holds no document"),
}

XML_HARM = {
    "entities": (
        make_cda(
            "<component><section><text>&b;</text></section></component>",
            prolog='<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>',
        ),
        "declares entities or a document type",
    ),
    "no XML": (b"FINDINGS: none", "the CDA document cannot be read"),
    "other XML": (b"<html/>", "is no CDA document"),
    "no text": (make_cda(""), "holds no report text"),
    "German": (make_cda("", language="de-DE"), "is not in English"),
    "depth": (
        make_cda(
            "<component><section>" * 5000 + "</section></component>" * 5000,
        ),
        "the CDA document",
    ),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("pdf", name) for name in HARM] + [("cda", name) for name in XML_HARM],
)
def test_a_document_without_a_report_is_told_with_the_reason(
    kind: str, name: str, tmp_path: Path, documents: DocumentReader
) -> None:
    content, expected = (HARM if kind == "pdf" else XML_HARM)[name]

    texts, (reason,) = read(encapsulated(content, kind=kind), tmp_path, documents)

    assert texts == []
    assert expected in reason


@pytest.mark.slow
def test_a_bomb_costs_its_process_and_nothing_else(tmp_path: Path) -> None:
    bomb = store_document(encapsulated(_bomb(), number=1), tmp_path)
    fine = store_document(encapsulated(make_pdf(LINES), number=2), tmp_path)

    with DocumentReader(timeout_s=5.0, memory_mb=512) as documents:
        (report,), (left_out,) = find_reports([bomb, fine], documents)

    assert "PDF" in left_out.reason
    assert report.source == f"pdf:{fine.sop_instance_uid}"


def test_a_lost_process_is_replaced(tmp_path: Path) -> None:
    stored = store_document(encapsulated(make_pdf(LINES)), tmp_path)
    with DocumentReader() as documents:
        first = documents.read(stored.path, kind="pdf")
        pid = documents.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(ReportError, match="SIGKILL"):
            documents.read(stored.path, kind="pdf")
        assert documents.read(stored.path, kind="pdf") == first


def test_no_process_starts_for_a_study_without_such_documents(tmp_path: Path) -> None:
    stored = store_document(make_basic_text_sr({"Findings": "Ascites."}), tmp_path)
    with DocumentReader() as documents:
        (report,), _ = find_reports([stored], documents)

        assert report.source.startswith("sr:")
        assert documents.pid is None


def test_our_own_summary_is_no_report(
    tmp_path: Path, documents: DocumentReader
) -> None:
    ds = encapsulated(make_pdf(LINES))
    device = Dataset()
    device.Manufacturer = MANUFACTURER
    device.ManufacturerModelName = MODEL_NAME
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    device.PurposeOfReferenceCodeSequence = [purpose]
    ds.ContributingEquipmentSequence = [device]

    assert read(ds, tmp_path, documents) == ([], [])


def test_a_document_that_another_one_supersedes_is_passed_over(
    tmp_path: Path, documents: DocumentReader
) -> None:
    old = make_basic_text_sr({"Findings": "Left effusion."})
    new = make_basic_text_sr({"Findings": "Right effusion."})
    sop, series, study = Dataset(), Dataset(), Dataset()
    sop.ReferencedSOPClassUID = old.SOPClassUID
    sop.ReferencedSOPInstanceUID = old.SOPInstanceUID
    series.SeriesInstanceUID = old.SeriesInstanceUID
    series.ReferencedSOPSequence = [sop]
    study.StudyInstanceUID = old.StudyInstanceUID
    study.ReferencedSeriesSequence = [series]
    new.PredecessorDocumentsSequence = [study]

    reports, _ = find_reports(
        [store_document(one, tmp_path) for one in (old, new)], documents
    )

    assert [one.source for one in reports] == [f"sr:{new.SOPInstanceUID}"]
    assert reports[0].status is ReportStatus.CORRECTED


@pytest.mark.parametrize(
    ("flag", "status"),
    [("PRELIMINARY", ReportStatus.PRELIMINARY), ("FINAL", ReportStatus.FINAL)],
)
def test_a_structured_report_says_how_far_it_is(
    flag: str, status: ReportStatus, tmp_path: Path
) -> None:
    ds = make_basic_text_sr({"Findings": "Ascites."})
    ds.PreliminaryFlag = flag

    (report,), _ = find_reports([store_document(ds, tmp_path)])

    assert report.status is status


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, len(CDA) - 1), st.integers(0, 255)), max_size=20)
)
def test_damaged_cda_documents_are_read_or_refused(
    damage: list[tuple[int, int]],
) -> None:
    content = bytearray(CDA)
    for place, value in damage:
        content[place] = value

    try:
        text = cda_text(bytes(content))
    except ReportError:
        return
    assert text.strip()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(damage=st.binary(max_size=2000), place=st.integers(-1, 900))
def test_any_bytes_are_a_pdf_or_refused(damage: bytes, place: int) -> None:
    whole = make_pdf(LINES)
    content = whole[:place] + damage + whole[place + len(damage) :]
    if place < 0:
        content = damage

    try:
        text = pdf_text(content)
    except ReportError:
        return
    assert text.strip()


def test_a_document_leaves_no_file_behind_when_the_node_is_killed(
    tmp_path: Path,
) -> None:
    code = (
        "import os, signal\n"
        "from dicom_node.reports.document_reader import DocumentReader\n"
        "reader = DocumentReader()\n"
        "reader._ask = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "reader.read_bytes(b'%PDF- a patient', kind='pdf')\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
