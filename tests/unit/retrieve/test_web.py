from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dicom_node.errors import RetrieveError
from dicom_node.retrieve.archive import Deadline, FoundInstance, FoundSeries
from dicom_node.retrieve.web import WebArchive


def archive(
    answer: Callable[[httpx.Request], httpx.Response], *, seconds: float = 60.0
) -> WebArchive:
    client = httpx.Client(
        base_url="http://pacs.example/dicom-web/",
        transport=httpx.MockTransport(answer),
    )
    return WebArchive(client, deadline=Deadline(seconds))


def says(status: int, body: Any = None, **headers: str) -> WebArchive:
    return archive(lambda _request: httpx.Response(status, json=body, headers=headers))


def test_a_search_names_keys_and_fields_and_reads_dicom_json() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        row = {
            "0020000D": {"vr": "UI", "Value": ["1.9"]},
            "00100020": {"vr": "LO", "Value": ["P&1 "]},
            "00080020": {"vr": "DA", "Value": ["20250101"]},
            "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        }
        return httpx.Response(200, json=[row])

    (found,) = archive(answer).studies_before("20260101", patient_id="P&1")

    assert (found.study_instance_uid, found.patient_id) == ("1.9", "P&1")
    assert (found.study_date, found.modalities) == ("20250101", ("CT", "SR"))
    assert asked[0].path == "/dicom-web/studies"
    assert asked[0].params["PatientID"] == "P&1"
    assert asked[0].params["StudyDate"] == "-20260101"


def test_an_empty_answer_is_no_match() -> None:
    assert says(204).study("1.2.3") is None
    assert says(200, []).series("1.2.3") == ()


def test_rows_that_lack_what_names_them_are_left_out() -> None:
    rows = [
        {"00080060": {"vr": "CS", "Value": ["CT"]}},
        {"0020000E": {"vr": "UI", "Value": ["1.2.3.1"]}, "00201209": {"vr": "IS"}},
        {"0020000E": {"vr": "UI", "Value": "1.2.3.2"}},
        "no row",
    ]

    assert says(200, rows).series("1.2.3") == (FoundSeries("1.2.3.1"),)
    rows = [{"00080018": {"vr": "UI", "Value": ["1.2.3.1.1"]}}]
    assert says(200, rows).instances("1.2.3", "1.2.3.1") == (
        FoundInstance("1.2.3.1.1", ""),
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status_code": 500}, "it answered QIDO-RS with 500"),
        (
            {"status_code": 302, "headers": {"Location": "http://elsewhere.example"}},
            "it answered QIDO-RS with 302",
        ),
        ({"status_code": 200, "json": {"a": 1}}, "not a list"),
        ({"status_code": 200, "text": "<html>"}, "not JSON"),
    ],
)
def test_an_answer_that_is_none_is_told(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(RetrieveError, match=reason):
        archive(lambda _: httpx.Response(**answer)).study("1.2.3")


def test_what_fails_on_the_way_is_told_without_what_the_peer_said() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("PATIENT NAME")

    with pytest.raises(RetrieveError, match="the connection failed") as caught:
        archive(fail).study("1.2.3")
    assert "PATIENT" not in str(caught.value)


def test_nothing_is_asked_when_the_time_is_over() -> None:
    with pytest.raises(RetrieveError, match="timeout_s"):
        archive(lambda _: httpx.Response(204), seconds=0.0).study("1.2.3")
