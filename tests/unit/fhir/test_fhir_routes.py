"""FHIR over HTTP."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.capabilitystatement import CapabilityStatement
from fhir.resources.diagnosticreport import DiagnosticReport
from fhir.resources.operationoutcome import OperationOutcome
from fhir.resources.R4B.capabilitystatement import (
    CapabilityStatement as CapabilityStatementR4,
)
from fhir.resources.R4B.diagnosticreport import DiagnosticReport as DiagnosticReportR4

from dicom_node.errors import PatientMismatchError, StoreError
from dicom_node.inbox import ReportInbox
from tests.builders.fhir_resources import STUDY_UID, attachment, body, make_report
from tests.builders.stores import received
from tests.builders.websites import Site, open_site

_FHIR = {"content-type": "application/fhir+json"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as opened:
        opened.add_user("ris", "sender")
        opened.add_user("reader", "viewer")
        yield opened


def _post(site: Site, resource: object, **headers: str) -> httpx.Response:
    content = resource if isinstance(resource, bytes) else body(resource)
    return site.client("ris").post(
        "/fhir/DiagnosticReport", content=content, headers={**_FHIR, **headers}
    )


def _issue(answer: httpx.Response) -> Any:
    assert answer.headers["content-type"].startswith("application/fhir+json")
    (issue,) = OperationOutcome.model_validate_json(answer.content).issue
    return issue


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_a_report_is_kept_and_waits_for_its_study(site: Site, release: str) -> None:
    answer = _post(site, make_report(release=release))

    assert answer.status_code == 201
    assert _issue(answer).diagnostics == "report 1: waiting, DiagnosticReport/1"
    (report,) = site.store.reports.waiting()
    assert report.text == "IMPRESSION:\nLeft pleural effusion."
    assert report.sender == "ris"


def test_a_report_joins_its_study(site: Site) -> None:
    site.store.record_instance(received(1, study_instance_uid=STUDY_UID))

    answer = _post(site, make_report())

    assert _issue(answer).diagnostics == "report 1: joined, DiagnosticReport/1"
    assert len(site.store.reports.of_study(STUDY_UID)) == 1


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_a_report_is_read_back_where_its_location_says(
    site: Site, release: str
) -> None:
    site.store.record_instance(received(1, study_instance_uid=STUDY_UID))
    where = _post(site, make_report()).headers["location"]
    model = DiagnosticReport if release == "R5" else DiagnosticReportR4
    accept = {"accept": f"application/fhir+json; fhirVersion={release[1]}.0"}

    answer = site.client("reader").get(where, headers=accept)

    report = model.model_validate_json(answer.content)
    assert (report.id, report.status) == ("1", "final")
    assert report.identifier[0].value == "R-77"
    text = b64decode(answer.json()["presentedForm"][0]["data"]).decode()
    assert text == "IMPRESSION:\nLeft pleural effusion."
    (study,) = report.study if release == "R5" else report.imagingStudy
    assert study.identifier.value == f"urn:oid:{STUDY_UID}"


@pytest.mark.parametrize(
    ("user", "name", "status"),
    [
        ("reader", "2", 404),
        ("reader", "x", 422),
        ("ris", "1", 403),
        (None, "1", 401),
    ],
)
def test_a_report_that_cannot_be_read_says_why(
    site: Site, user: str | None, name: str, status: int
) -> None:
    _post(site, make_report())

    answer = site.client(user).get(f"/fhir/DiagnosticReport/{name}")

    assert answer.status_code == status
    assert _issue(answer).severity == "error"


def test_the_reports_of_a_bundle_are_kept_all_or_none(site: Site) -> None:
    site.store.record_instance(
        received(1, study_instance_uid=STUDY_UID, study={"PatientID": "4711"})
    )
    other = make_report(subject={"identifier": {"value": "another"}})
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": make_report()}, {"resource": other}],
    }

    assert _post(site, bundle).status_code == 409
    assert site.store.reports.of_study(STUDY_UID) == ()

    other["subject"] = {"identifier": {"value": "4711"}}
    other["identifier"] = [{"value": "R-78"}]
    assert _post(site, bundle).status_code == 201
    assert len(site.store.reports.of_study(STUDY_UID)) == 2


def test_a_report_sent_again_is_known(site: Site) -> None:
    answers = [_post(site, make_report()) for _ in range(2)]

    assert [one.status_code for one in answers] == [201, 200]
    assert {one.headers["location"] for one in answers} == {"/fhir/DiagnosticReport/1"}
    assert len(site.store.reports.waiting()) == 1


@pytest.mark.parametrize(
    ("resource", "status", "code"),
    [
        (b"{", 400, "structure"),
        ({"resourceType": "Patient"}, 400, "not-supported"),
        (make_report(status=None), 400, "structure"),
        (make_report(study=None), 422, "required"),
        (make_report(conclusion=None), 422, "required"),
        (
            make_report(
                conclusion=None, presentedForm=[attachment("%PDF", "application/pdf")]
            ),
            400,
            "not-supported",
        ),
    ],
)
def test_a_refusal_is_an_operation_outcome(
    site: Site, resource: object, status: int, code: str
) -> None:
    answer = _post(site, resource)

    assert answer.status_code == status
    assert _issue(answer).code == code
    assert site.store.reports.waiting() == ()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PatientMismatchError(), 409, "conflict"),
        (StoreError("the database is away"), 503, "transient"),
    ],
)
def test_trouble_is_told_by_its_status(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ReportInbox, "accept_all", fail)

    answer = _post(site, make_report())

    assert answer.status_code == status
    assert _issue(answer).code == code


def test_the_content_type_names_the_release(site: Site) -> None:
    named = {"content-type": "application/fhir+json; fhirVersion=5.0"}

    answer = _post(site, make_report(release="R4"), **named)

    assert answer.status_code == 400


def test_another_format_is_not_taken(site: Site) -> None:
    answer = _post(site, b"<x/>", **{"content-type": "application/fhir+xml"})

    assert answer.status_code == 415
    assert _issue(answer).code == "not-supported"


@pytest.mark.parametrize(("user", "status"), [("reader", 403), (None, 401)])
def test_only_senders_hand_in_reports(
    site: Site, user: str | None, status: int
) -> None:
    answer = site.client(user).post(
        "/fhir/DiagnosticReport", content=body(make_report()), headers=_FHIR
    )

    assert answer.status_code == status
    assert site.store.reports.waiting() == ()


@pytest.mark.parametrize(
    ("user", "method", "path", "status", "code"),
    [
        (None, "POST", "/fhir/DiagnosticReport", 401, "login"),
        ("reader", "POST", "/fhir/DiagnosticReport", 403, "forbidden"),
        ("ris", "POST", "/fhir", 404, "not-found"),
        ("ris", "GET", "/fhir/DiagnosticReport", 405, "not-supported"),
        ("ris", "GET", "/fhir/Patient/1", 404, "not-found"),
    ],
)
def test_every_error_below_fhir_is_an_operation_outcome(
    site: Site, user: str | None, method: str, path: str, status: int, code: str
) -> None:
    client = site.client() if user is None else site.client(user)

    answer = client.request(method, path, json={"resourceType": "Bundle"})

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert _issue(answer).code == code


def test_a_body_that_is_too_large_is_told_as_an_operation_outcome(site: Site) -> None:
    answer = site.client("ris").post(
        "/fhir/DiagnosticReport",
        content=b"{}",
        headers={"Content-Length": str(1 << 40)},
    )

    assert answer.status_code == 413
    assert _issue(answer).code == "too-long"


def test_the_interface_describes_itself(site: Site) -> None:
    five = site.client().get("/fhir/metadata")
    four = site.client().get(
        "/fhir/metadata", headers={"accept": "application/fhir+json; fhirVersion=4.0"}
    )

    statement = CapabilityStatement.model_validate_json(five.content)
    assert statement.fhirVersion == "5.0.0"
    assert (
        CapabilityStatementR4.model_validate_json(four.content).fhirVersion == "4.0.1"
    )
    (resource,) = statement.rest[0].resource
    paths = site.app.openapi()["paths"]
    assert {one.code for one in resource.interaction} == {"create", "read"}
    assert "post" in paths[f"/fhir/{resource.type}"]
    assert "get" in paths[f"/fhir/{resource.type}/{{report_id}}"]
    other = {"accept": "application/fhir+json; fhirVersion=3.0"}
    assert site.client().get("/fhir/metadata", headers=other).status_code == 406
