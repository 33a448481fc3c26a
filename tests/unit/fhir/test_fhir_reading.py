"""Reports out of FHIR DiagnosticReports."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.errors import ReportRefusedError
from dicom_node.fhir.outcome import operation_outcome
from dicom_node.fhir.reading import read_reports
from dicom_node.fhir.validation import release_of
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.reports import DocumentReader
from tests.builders.documents import make_pdf
from tests.builders.fhir_resources import STUDY_UID, attachment, body, make_report
from tests.builders.stores import NOON

_ACSN = {"coding": [{"code": "ACSN"}]}
_MR = {"coding": [{"code": "MR"}]}


def _read(resource: object, **options: Any) -> tuple[IncomingReport, ...]:
    return read_reports(body(resource), received_at=NOON, sender="ris", **options)


def _one(**changes: Any) -> IncomingReport:
    (report,) = _read(make_report(**changes))
    return report


def _div(inside: str, status: str = "generated") -> dict[str, str]:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{inside}</div>'
    return {"status": status, "div": div}


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_a_report_carries_what_the_resource_says(release: str) -> None:
    (report,) = _read(make_report(release=release))

    assert report == IncomingReport(
        text="IMPRESSION:\nLeft pleural effusion.",
        channel=ReportChannel.FHIR,
        status=ReportStatus.FINAL,
        identifier="R-77",
        sender="ris",
        received_at=NOON,
        study_instance_uid=STUDY_UID,
        patient_id="4711",
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("registered", ReportStatus.PRELIMINARY),
        ("partial", ReportStatus.PRELIMINARY),
        ("preliminary", ReportStatus.PRELIMINARY),
        ("final", ReportStatus.FINAL),
        ("amended", ReportStatus.CORRECTED),
        ("corrected", ReportStatus.CORRECTED),
        ("appended", ReportStatus.CORRECTED),
        ("cancelled", ReportStatus.CANCELLED),
        ("entered-in-error", ReportStatus.CANCELLED),
    ],
)
def test_the_status_is_kept(status: str, expected: ReportStatus) -> None:
    assert _one(status=status).status is expected


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_a_bundle_that_asks_for_more_than_post_is_refused(method: str) -> None:
    entry = {"resource": make_report(), "request": {"method": method, "url": "x/1"}}
    other = {"fullUrl": "urn:uuid:1", **entry}
    other["request"] = {"method": "POST", "url": "DiagnosticReport"}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [other, entry]}

    with pytest.raises(ReportRefusedError, match="POST") as refused:
        _read(bundle)

    assert refused.value.facts["at"] == "Bundle.entry.request.method"
    assert len(_read(bundle | {"entry": [other]})) == 1


def test_a_report_of_two_studies_without_an_identifier_gets_none() -> None:
    studies = [
        {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:1.{n}"}}
        for n in (2, 3)
    ]

    reports = _read(make_report(identifier=None, study=studies))

    assert [one.identifier for one in reports] == ["", ""]


@pytest.mark.parametrize("release", ["R4", "R5"])
@pytest.mark.parametrize("how", ["contained", "bundle"])
def test_the_study_and_patient_may_be_other_resources(release: str, how: str) -> None:
    name = "study" if release == "R5" else "imagingStudy"
    study = {
        "resourceType": "ImagingStudy",
        "id": "s",
        "status": "available",
        "subject": {"display": "somebody"},
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY_UID}"},
            {"type": _ACSN, "value": "ACC9"},
        ],
    }
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"value": "insurance"}, {"type": _MR, "value": "4711"}],
    }
    if how == "contained":
        resource = make_report(
            release=release,
            contained=[study, patient],
            subject={"reference": "#p"},
            **{name: [{"reference": "#s"}]},
        )
    else:
        report = make_report(
            release=release,
            subject={"reference": "urn:uuid:1"},
            **{name: [{"reference": "ImagingStudy/s"}]},
        )
        resource = {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [
                {"resource": report},
                {"resource": study},
                {"fullUrl": "urn:uuid:1", "resource": patient},
            ],
        }

    (report,) = _read(resource)

    assert report.study_instance_uid == STUDY_UID
    assert report.accession_number == "ACC9"
    assert (report.patient_id, report.other_patient_ids) == ("4711", ("insurance",))


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": [{"type": _ACSN, "value": "ACC9"}, {"value": "R-77"}]},
        {"basedOn": [{"identifier": {"type": _ACSN, "value": "ACC9"}}]},
        {"basedOn": [{"identifier": {"value": "ACC9"}}]},
        {
            "basedOn": [{"reference": "#o"}],
            "contained": [
                {
                    "resourceType": "ServiceRequest",
                    "id": "o",
                    "status": "active",
                    "intent": "order",
                    "subject": {"display": "somebody"},
                    "identifier": [
                        {"value": "PLACER"},
                        {"type": _ACSN, "value": "ACC9"},
                    ],
                }
            ],
        },
    ],
)
def test_the_accession_number_is_the_reports_or_the_orders(
    changes: dict[str, Any],
) -> None:
    report = _one(study=None, **changes)

    assert (report.accession_number, report.study_instance_uid) == ("ACC9", None)


def test_a_report_of_two_studies_is_a_report_for_each() -> None:
    named = [
        {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:1.2.{n}"}}
        for n in (1, 2)
    ]

    reports = _read(make_report(study=named))

    assert [one.study_instance_uid for one in reports] == ["1.2.1", "1.2.2"]
    assert len({one.identifier for one in reports}) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"presentedForm": [attachment("Plain text.")]}, "Plain text."),
        (
            {"presentedForm": [attachment("%PDF", "application/pdf"), attachment("x")]},
            "x",
        ),
        (
            {"presentedForm": [attachment("<p>A<b>b</b></p><p>C", "text/html")]},
            "Ab\n\nC",
        ),
        (
            {"presentedForm": [attachment("Größe", "text/plain; charset=utf-8")]},
            "Größe",
        ),
        (
            {"text": _div("<p>Effusion.</p>"), "conclusion": None},
            "Effusion.",
        ),
        (
            {"text": _div("<p>Effusion.</p>"), "conclusion": "Small."},
            "Effusion.\n\nIMPRESSION:\nSmall.",
        ),
        ({"text": _div("<p>Effusion.</p>"), "conclusion": "Effusion."}, "Effusion."),
        (
            {
                "conclusion": "A.",
                "conclusionCode": [{"text": "B"}, {"coding": [{"display": "C"}]}],
            },
            "IMPRESSION:\nA.\nB\nC",
        ),
        (
            {
                "presentedForm": [attachment("%PDF", "application/pdf")],
                "conclusion": "x",
            },
            "IMPRESSION:\nx",
        ),
    ],
)
def test_the_text_is_the_fullest_that_can_be_read(
    changes: dict[str, Any], text: str
) -> None:
    assert _one(**changes).text == text


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("<h2>Findings</h2><p>No  mass.\nNone.</p>", "Findings\n\nNo mass. None."),
        ("<p>a<br/>b</p><ul><li>one</li><li>two</li></ul>", "a\nb\n\n- one\n- two"),
        ("<table><tr><th>A</th><td>B</td></tr><tr><td>C</td></tr></table>", "A B\nC"),
        ("<p>a</p><script>alert(1)</script><style>p{}</style><p>b</p>", "a\n\nb"),
        ("<p>5&#160;mm &lt; 1&nbsp;cm &amp; &eacute;</p>", "5 mm < 1 cm & é"),
        ("<pre>a\n  b\n\nc</pre>", "a\n  b\n\nc"),
        ("<p>a<!-- hidden -->b</p>tail", "ab\n\ntail"),
    ],
)
def test_the_narrative_keeps_its_structure(inside: str, text: str) -> None:
    assert _one(text=_div(inside), conclusion=None).text == text


@pytest.mark.parametrize(
    "inside", ["<p>open", "<p>&unknown;</p>", "</div><!DOCTYPE a><div>"]
)
def test_a_narrative_that_is_not_well_formed_is_refused(inside: str) -> None:
    with pytest.raises(ReportRefusedError):
        _one(text=_div(inside), conclusion=None)


def test_entities_are_not_expanded() -> None:
    bomb = (
        '<!DOCTYPE div [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        '<div xmlns="http://www.w3.org/1999/xhtml">&b;</div>'
    )

    with pytest.raises(ReportRefusedError):
        _one(text={"status": "generated", "div": bomb}, conclusion=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": None}, "neither a study"),
        ({"conclusion": None}, "no text"),
        (
            {
                "conclusion": None,
                "presentedForm": [attachment("%PDF", "application/pdf")],
            },
            "another kind",
        ),
        ({"presentedForm": [attachment(b"a\0b")]}, "not a text file"),
        ({"status": None}, "not a valid DiagnosticReport"),
        ({"conclusion": {"secret": "DOE"}}, "not a valid DiagnosticReport"),
        ({"DOE^JANE": 1}, "not a valid DiagnosticReport"),
        ({"resourceType": "Patient"}, "only these resources"),
    ],
)
def test_what_cannot_be_read_is_refused_without_quoting_it(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReportRefusedError, match=message) as refused:
        _one(**changes)

    told = json.dumps(operation_outcome(refused.value))
    assert "DOE" not in told
    assert "effusion" not in told


def test_a_pdf_is_read_when_nothing_else_is_text() -> None:
    form = attachment(make_pdf(["Left effusion."]), "application/pdf")

    with DocumentReader() as documents:
        (report,) = _read(
            make_report(conclusion=None, presentedForm=[form]),
            read_pdf=lambda data: documents.read_bytes(data, kind="pdf"),
        )

    assert report.text.strip() == "Left effusion."


def test_a_broken_pdf_is_refused() -> None:
    form = attachment(b"%PDF-1.4 broken", "application/pdf")

    with DocumentReader() as documents, pytest.raises(ReportRefusedError):
        _read(
            make_report(conclusion=None, presentedForm=[form]),
            read_pdf=lambda data: documents.read_bytes(data, kind="pdf"),
        )


def test_a_withdrawn_report_needs_no_text() -> None:
    assert _one(status="entered-in-error", conclusion=None).text == ""


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"1", b"{", b"[" * 5000])
def test_what_is_no_resource_is_refused(data: bytes) -> None:
    with pytest.raises(ReportRefusedError):
        read_reports(data, received_at=NOON, sender="ris")


def test_an_empty_bundle_is_refused() -> None:
    with pytest.raises(ReportRefusedError, match="holds no DiagnosticReport"):
        _read({"resourceType": "Bundle", "type": "collection"})


@pytest.mark.parametrize(
    ("content_type", "release"),
    [
        ("application/fhir+json", None),
        ("application/fhir+json; fhirVersion=4.0", "R4"),
        ('application/fhir+json; charset=utf-8; fhirVersion="5.0"', "R5"),
    ],
)
def test_the_content_type_names_the_release(
    content_type: str, release: str | None
) -> None:
    assert release_of(content_type) == release


def test_another_release_is_refused() -> None:
    with pytest.raises(ReportRefusedError, match="R4 and R5"):
        release_of("application/fhir+json; fhirVersion=3.0")


def test_a_report_of_another_release_than_named_is_refused() -> None:
    with pytest.raises(ReportRefusedError, match="not a valid"):
        _read(make_report(release="R4"), release="R5")


def test_an_operation_outcome_is_valid() -> None:
    from fhir.resources.operationoutcome import OperationOutcome
    from fhir.resources.R4B.operationoutcome import OperationOutcome as OutcomeR4

    error = ReportRefusedError("no text", code="required", at="DiagnosticReport.text")

    outcome = operation_outcome(error)

    assert OperationOutcome.model_validate(outcome).issue[0].code == "required"
    OutcomeR4.model_validate(outcome)


_ELEMENTS = (
    "status",
    "text",
    "study",
    "presentedForm",
    "basedOn",
    "subject",
    "contained",
    "identifier",
    "conclusion",
    "conclusionCode",
    "entry",
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "text", "div", "study", "identifier", "coding"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(_ELEMENTS),
        _JSON,
        max_size=4,
    ),
    st.sampled_from(["DiagnosticReport", "Bundle"]),
)
def test_random_resources_are_read_or_refused(
    changes: dict[str, Any], kind: str
) -> None:
    try:
        reports = _read(make_report(resourceType=kind, **changes))
    except ReportRefusedError:
        return

    assert reports


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=80))
def test_random_markup_never_hangs(markup: str) -> None:
    (report,) = _read(
        make_report(presentedForm=[attachment(f"x{markup}<b", "text/html")])
    )

    assert report.text.startswith("x")


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"QZXCANARY": "x"}, "DiagnosticReport"),
        ({"subject": {"QZXCANARY": "x"}}, "DiagnosticReport.subject"),
    ],
)
def test_an_element_that_is_none_is_not_quoted(
    changes: dict[str, Any], at: str
) -> None:
    with pytest.raises(ReportRefusedError) as refused:
        _read(make_report(**changes))

    outcome = operation_outcome(refused.value)
    assert outcome["issue"][0]["expression"] == [at]
    assert "QZXCANARY" not in str(outcome)
