"""Reports out of ORU^R01."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dicom_node.errors import ReportRefusedError
from dicom_node.hl7.message import Message
from dicom_node.hl7.reading import read_reports
from dicom_node.records import IncomingReport, Report, ReportChannel, ReportStatus
from dicom_node.reports import DocumentReader, extract_phrases
from tests.builders.documents import make_pdf
from tests.builders.hl7_messages import make_oru, obx
from tests.builders.stores import NOON

_STUDY = "1.2.840.99.7"


def _read(text: str, **options: Any) -> tuple[IncomingReport, ...]:
    return read_reports(Message.parse(text.encode()), received_at=NOON, **options)


def _one(*rows: str, **fields: Any) -> IncomingReport:
    (report,) = _read(make_oru(*(rows or (obx("No effusion."),)), **fields))
    return report


def test_a_report_carries_what_the_message_says() -> None:
    report = _one(obx("Left pleural effusion."), obx("No mass."))

    assert report == IncomingReport(
        text="Left pleural effusion.\nNo mass.",
        channel=ReportChannel.HL7,
        status=ReportStatus.FINAL,
        identifier="ACC1",
        sender="RIS/HOSPITAL",
        received_at=NOON,
        accession_number="ACC1",
        patient_id="4711",
    )


@pytest.mark.parametrize(
    ("fields", "accession"),
    [
        ({"obr": {3: "FILLER^RIS"}}, "FILLER"),
        ({"obr": {3: "FILLER", 18: "ACC18"}}, "ACC18"),
        ({"obr": {3: "", 20: "ACC20"}}, "ACC20"),
        ({"obr": {3: ""}, "orc": {3: "ORC3^RIS"}}, "ORC3"),
        ({"obr": {3: "F", 18: "A"}, "extra": ["IPC|IPC1^RIS|RP|1.2.3"]}, "IPC1"),
        ({"obr": {3: '""', 20: "ACC20"}}, "ACC20"),
    ],
)
def test_the_accession_number_is_the_first_of_five_places(
    fields: dict[str, Any], accession: str
) -> None:
    assert _one(**fields).accession_number == accession


def test_the_places_of_the_accession_number_can_be_chosen() -> None:
    text = make_oru(obx("x"), obr={3: "FILLER", 18: "ROOM 3"})

    (report,) = _read(text, accession_fields=("OBR-3",))

    assert report.accession_number == "FILLER"


@pytest.mark.parametrize(
    "where",
    [
        {"extra": [f"ZDS|{_STUDY}^RIS^Application^DICOM"]},
        {"extra": [f"IPC|A|RP|{_STUDY}|STEP"]},
        {"extra": [obx(_STUDY, code="113014^DICOM Study^DCM", kind="ST")]},
        {"extra": [obx(_STUDY, code="^Study Instance UID", kind="ST")]},
        {"extra": [f"ZDS|urn:oid:{_STUDY}"]},
    ],
)
def test_the_study_is_named_by_zds_ipc_or_an_observation(where: dict[str, Any]) -> None:
    report = _one(**where)

    assert report.study_instance_uid == _STUDY
    assert report.text == "No effusion."


@pytest.mark.parametrize("uid", ["1.2..3", "01.2", "1." * 40 + "1", "DROP TABLE"])
def test_a_study_uid_that_is_none_is_refused(uid: str) -> None:
    with pytest.raises(ReportRefusedError, match="no UID"):
        _one(extra=[f"ZDS|{uid}"])


def test_a_report_that_names_no_study_is_refused() -> None:
    with pytest.raises(ReportRefusedError, match="neither"):
        _one(obr={3: ""})


@pytest.mark.parametrize(
    ("pid3", "patient"),
    [
        ("4711", "4711"),
        ("4711^^^HOSP&1.2.3&ISO^MR", "4711"),
        ("999^^^SSA^SS~4711^^^HOSP^MR", "4711"),
        ("999^^^SSA^SS~4711^^^HOSP^PI", "4711"),
        ("4711^^^A^XX~999^^^SSA^SS", "4711"),
        ("~4711^^^A", "4711"),
        ("", None),
    ],
)
def test_the_patient_is_first_the_medical_record_number(
    pid3: str, patient: str | None
) -> None:
    assert _one(pid3=pid3).patient_id == patient


def test_every_identifier_of_the_patient_is_kept() -> None:
    report = _one(pid3="999^^^SSA&1&ISO^SS~4711&x^^^HOSP^MR~999^^^B~7^^^C^PI")

    assert (report.patient_id, report.other_patient_ids) == ("4711", ("7", "999"))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("P", ReportStatus.PRELIMINARY),
        ("R", ReportStatus.PRELIMINARY),
        ("F", ReportStatus.FINAL),
        ("C", ReportStatus.CORRECTED),
        ("X", ReportStatus.CANCELLED),
    ],
)
def test_the_order_says_how_far_the_report_is(code: str, status: ReportStatus) -> None:
    assert _one(obr={3: "A", 25: code}).status is status


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ("FF", ReportStatus.FINAL),
        ("FP", ReportStatus.PRELIMINARY),
        ("FC", ReportStatus.CORRECTED),
        ("FD", ReportStatus.FINAL),
        ("DX", ReportStatus.CANCELLED),
        ("", ReportStatus.PRELIMINARY),
    ],
)
def test_else_the_observations_say_it(codes: str, status: ReportStatus) -> None:
    rows = [obx("text", status=one) for one in codes] or [obx("text", status="")]

    assert _one(*rows, obr={3: "A", 25: ""}).status is status


def test_a_final_report_with_a_corrected_row_is_corrected() -> None:
    assert _one(obx("a", status="C")).status is ReportStatus.CORRECTED


@pytest.mark.parametrize(
    "fields", [{"obr": {3: "A", 25: "Q"}}, {"obr": {3: "A", 25: ""}}]
)
def test_an_unknown_status_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ReportRefusedError, match="status is not of table"):
        _one(obx("x", status="?"), **fields)


def test_a_deleted_row_is_left_out() -> None:
    report = _one(obx("Left effusion.", status="D"), obx("No effusion.", status="C"))

    assert report.text == "No effusion."


def test_a_withdrawn_order_needs_no_text() -> None:
    (report,) = _read(make_oru(obr={3: "A", 25: "X"}))

    assert (report.status, report.text) == (ReportStatus.CANCELLED, "")


def test_each_order_is_a_report() -> None:
    second = ["OBR|2||ACC2||||||||||||||||||||||P", obx("Second.")]

    reports = _read(make_oru(obx("First."), extra=second))

    assert [(one.accession_number, one.text) for one in reports] == [
        ("ACC1", "First."),
        ("ACC2", "Second."),
    ]
    assert reports[1].status is ReportStatus.PRELIMINARY


def _obr(number: str, procedure: str = "CTAB^CT ABDOMEN", status: str = "F") -> str:
    return f"OBR|2||{number}|{procedure}" + "|" * 21 + status


def test_each_order_is_of_the_patient_before_it() -> None:
    second = ["PID|2||Q^^^H2^MR", _obr("ACC2"), obx("Second.")]
    third = ["PID|3||", "OBX|1|NM|WEIGHT||80||||||F", _obr("ACC3"), obx("Third.")]

    reports = _read(make_oru(obx("First."), pid3="P", extra=[*second, *third]))

    assert [(one.patient_id, one.text) for one in reports] == [
        ("P", "First."),
        ("Q", "Second."),
        (None, "Third."),
    ]


def test_requests_of_one_order_are_one_report() -> None:
    first = "INDICATION: Pain.\\.br\\\\.br\\Lung nodule."
    rows = [obx(first), _obr("ACC1", status="P"), obx("Liver lesion.")]

    (report,) = _read(make_oru(*rows))

    assert report.text == (
        "EXAMINATION: CT CHEST\n\nINDICATION: Pain.\n\nREPORT:\nLung nodule.\n\n"
        "EXAMINATION: CT ABDOMEN\n\nREPORT:\nLiver lesion."
    )
    assert report.status is ReportStatus.PRELIMINARY
    phrases = [one.text for one in extract_phrases(Report(report.text, "hl7:1"))]
    assert phrases == ["Lung nodule", "Liver lesion"]


def test_a_withdrawn_request_takes_nothing_else_of_its_order_with_it() -> None:
    rows = [obx("Lung nodule."), _obr("ACC1", status="X"), obx("Liver lesion.")]

    (report,) = _read(make_oru(*rows))

    assert (report.text, report.status) == ("Lung nodule.", ReportStatus.FINAL)


def test_orders_of_one_number_but_two_studies_are_two_reports() -> None:
    rows = [obx("a"), "ZDS|1.2.3", _obr("ACC1"), obx("b"), "ZDS|1.2.4"]

    assert [one.text for one in _read(make_oru(*rows))] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("OBX|1|TX|||first\nPST|word: more||||||F", "first\nPST|word: more"),
        ("OBX|1|TX|||first\na|b\nMRI|c|||N|||F|||2026", "first\na|b\nMRI|c"),
        ("OBX|1|TX|||first\n\nsecond||||||F", "first\n\nsecond"),
        ("OBX|1|TX|||first\nCTA|second|||", "first\nCTA|second"),
        ("OBX|1|TX|||first||||||F\nXYZ|no text\n\n", "first"),
        ("OBX|1|TX|||first\nZDS|1.2.3", "first"),
    ],
)
def test_text_that_looks_like_a_segment_stays_text(rows: str, text: str) -> None:
    assert _one(rows).text == text


@pytest.mark.parametrize(
    "rows", ["OBX|1|TX|||first||||||F\nsecond", "OBX|1|TX\nfirst||||||F"]
)
def test_text_outside_of_its_field_is_refused(rows: str) -> None:
    with pytest.raises(ReportRefusedError, match="outside of the field"):
        _one(rows)


@given(st.lists(st.text("ABXOPSTZ19 |", min_size=1, max_size=9), max_size=6))
def test_no_word_of_a_text_is_lost(lines: list[str]) -> None:
    known = re.compile(r"(?:OBX|Z[A-Z0-9]{2})[|]")
    assume(not any(known.match(one) or "|||" in one for one in lines))
    body = "\n".join(["begin", *lines, "end"])

    assert _one(f"OBX|1|TX|||{body}||||||F").text == body


@pytest.mark.parametrize(
    "text",
    [
        make_oru(*[obx("x")] * 20_001),
        make_oru(obx("~" * 400_001)),
        make_oru("OBX|1|CE|||" + "^" * 400_001),
        make_oru(obx("x"), extra=[_obr("A"), obx("y")] * 100),
    ],
)
def test_a_message_of_too_many_parts_is_refused(text: str) -> None:
    with pytest.raises(ReportRefusedError, match=r"too many|more than") as refused:
        _read(text)

    assert refused.value.facts["code"] == 207


@pytest.mark.parametrize(
    ("finding", "impression"),
    [
        ("GDT", "IMP"),
        ("71020&GDT^CHEST^L", "71020&IMP^CHEST^L"),
        ("18782-3^Radiology Study observation^LN", "19005-8^Impression^LN"),
        ("121070^Findings^DCM", "121072^Impressions^DCM"),
        ("F^FINDINGS", "I^Impression"),
    ],
)
def test_observation_identifiers_become_headings(finding: str, impression: str) -> None:
    report = _one(
        obx("Comparison with 2024.", code="18834-2^Comparison^LN"),
        obx("Left pleural effusion.", code=finding),
        obx("Large.", code=finding),
        obx("No pneumothorax.", code=impression),
    )

    phrases = extract_phrases(Report(report.text, "hl7:1"))

    assert "FINDINGS:\nLeft pleural effusion.\nLarge." in report.text
    assert {(one.text, one.section) for one in phrases} >= {
        ("Left pleural effusion", "findings"),
        ("pneumothorax", "impression"),
    }


def test_a_body_with_its_own_headings_gets_no_other() -> None:
    body = "CLINICAL HISTORY: mass.\\.br\\FINDINGS: No mass."

    report = _one(obx(body, code="71020&GDT^CHEST", kind="FT"))

    assert report.text == "CLINICAL HISTORY: mass.\nFINDINGS: No mass."


def test_a_heading_that_is_in_the_text_is_not_said_twice() -> None:
    report = _one(obx("Effusion.", code="GDT"), obx("IMPRESSION: Small.", code="IMP"))

    assert report.text == "FINDINGS:\nEffusion.\n\nIMPRESSION: Small."


def test_text_without_a_name_ends_the_section_before_it() -> None:
    report = _one(obx("Pain.", code="11329-0^History^LN"), obx("Effusion.", code="Z9"))

    assert report.text == "HISTORY:\nPain.\n\nREPORT:\nEffusion."


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (obx("one~two"), "one\ntwo"),
        (obx("size 2^3 & more"), "size 2^3 & more"),
        (obx("C1^Left effusion^L", kind="CE"), "Left effusion"),
        (obx("C1^a^L~C2^b^L", kind="CWE"), "a\nb"),
        (obx("C1^^L^^^^^^Left effusion", kind="CWE"), "Left effusion"),
        (obx("12.5", kind="NM", code="L^Length"), "Length: 12.5"),
        (obx(r"line one\.br\line two", kind="FT"), "line one\nline two"),
    ],
)
def test_values_become_text_by_their_type(row: str, text: str) -> None:
    assert _one(row).text == text


def test_an_embedded_document_alone_is_refused_by_name() -> None:
    with pytest.raises(ReportRefusedError, match="encapsulated document"):
        _one(obx("^application^pdf^Base64^JVBERi0=", kind="ED"))


def _ed(data: bytes, kind: str = "application^pdf", encoding: str = "Base64") -> str:
    return obx(f"^{kind}^{encoding}^{b64encode(data).decode()}", kind="ED")


def test_the_text_of_an_embedded_pdf_is_read_where_it_can_be() -> None:
    pdf = make_pdf(["FINDINGS: Left effusion."])

    with DocumentReader() as documents:
        (report,) = _read(
            make_oru(_ed(pdf)),
            read_pdf=lambda data: documents.read_bytes(data, kind="pdf"),
        )

    assert report.text.strip() == "FINDINGS: Left effusion."


def test_an_embedded_text_is_read() -> None:
    assert _one(_ed("Größe".encode(), "TEXT^plain")).text == "Größe"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_ed(b"%PDF-1.4 broken"), "PDF"),
        (_ed(b"{\\rtf1}", "application^rtf"), "neither text nor PDF"),
        (_ed(b"x", "TEXT^plain", "Hex"), "not in Base64"),
        (obx("^TEXT^plain^Base64^&&&", kind="ED"), "not in Base64"),
        (_ed(b"x", "TEXT^plain").removesuffix("F") + "D", "no text"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(row: str, message: str) -> None:
    with (
        DocumentReader() as documents,
        pytest.raises(ReportRefusedError, match=message),
    ):
        _read(
            make_oru(row, obr={3: "A", 25: "F"}),
            read_pdf=lambda data: documents.read_bytes(data, kind="pdf"),
        )


def test_text_beside_an_embedded_document_counts() -> None:
    rows = [obx("Effusion."), obx("^application^pdf^Base64^JVBERi0=", kind="ED")]

    assert _one(*rows).text == "Effusion."


@pytest.mark.parametrize(
    ("msh", "code"),
    [
        ({9: "ADT^A01"}, 200),
        ({9: ""}, 200),
        ({9: "ORU^R30"}, 201),
        ({11: "T"}, 202),
        ({11: "D^A"}, 202),
        ({12: "3.0"}, 203),
    ],
)
def test_other_messages_are_refused_with_their_code(
    msh: dict[int, str], code: int
) -> None:
    with pytest.raises(ReportRefusedError) as refused:
        _one(msh=msh)

    assert refused.value.facts["code"] == code


@pytest.mark.parametrize("version", ["", "2.1", "2.3.1", "2.5.1", "2.8.2", "2.5^USA"])
def test_every_version_of_2_is_taken(version: str) -> None:
    assert _one(msh={9: "ORU", 12: version}).text == "No effusion."


@settings(deadline=None)
@given(st.lists(st.sampled_from("MSHOBRX|^~\\&\r\n15FPTXIPCZDS."), max_size=120))
def test_a_message_of_random_pieces_is_read_or_refused(pieces: list[str]) -> None:
    text = make_oru(obx("x")) + "".join(pieces)

    try:
        reports = _read(text)
    except ReportRefusedError:
        return

    assert all(one.accession_number for one in reports)
