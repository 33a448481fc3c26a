"""STOW-RS as a user: what goes over the wire, and every answer there can be."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.stow_statuses import (
    STOW_REASONS,
    STOW_STATUSES,
    judge_stow_reason,
    judge_stow_status,
)
from dicom_node.config import DestinationSettings
from dicom_node.deliver import Sendable, SendOutcome, check, send, stow
from dicom_node.deliver.multipart import MultipartBody, choose_boundary
from dicom_node.deliver.stow_answer import read_stow_answer
from dicom_node.errors import DeliveryError
from tests.builders.process import free_port
from tests.builders.stow_server import Answer, accepted, run_stow_server, split_body

CT = "1.2.840.10008.5.1.4.1.1.2"


def objects(folder: Path, count: int = 2, *, study: str = "1.2.3") -> list[Sendable]:
    made = []
    for number in range(1, count + 1):
        path = folder / f"{study}-{number}.dcm"
        path.write_bytes(bytes(128) + b"DICM\r\n--\r\n" + bytes([number]) * 50)
        uid = f"{study}.{number}"
        made.append(Sendable(path, CT, uid, "1.2.840.10008.1.2.1", study))
    return made


def destination(url: str, **changes: object) -> DestinationSettings:
    return DestinationSettings.model_validate(
        {"name": "cloud", "kind": "stow", "url": url, **changes}
    )


def stow_all(found: list[Sendable], url: str, **changes: object) -> list[SendOutcome]:
    return list(send(found, destination(url, **changes), ae_title="NODE"))


def takes_all(path: str, parts: list[bytes]) -> Answer:
    study = path.rpartition("/")[2]
    return Answer(body=accepted({f"{study}.{part[-1]}": None for part in parts}))


def test_files_arrive_byte_for_byte_under_their_study(tmp_path: Path) -> None:
    found = objects(tmp_path)
    with run_stow_server(takes_all) as server:
        outcomes = stow_all(found, server.url)

    ((path, parts),) = server.requests
    assert path == "/dicom-web/studies/1.2.3"
    assert parts == [one.path.read_bytes() for one in found]
    assert [(one.is_delivered, one.reason) for one in outcomes] == [(True, "")] * 2
    assert "dicom+json" in server.headers[0]["Accept"]


def test_each_study_has_requests_of_its_own(tmp_path: Path) -> None:
    found = [*objects(tmp_path, study="1.2.3"), *objects(tmp_path, study="1.2.9")]
    with run_stow_server(takes_all) as server:
        outcomes = stow_all(found, server.url)

    assert all(one.is_delivered for one in outcomes)
    assert [path.rpartition("/")[2] for path, _ in server.requests] == [
        "1.2.3",
        "1.2.9",
    ]


@pytest.mark.parametrize(
    ("limit", "value"), [("MAX_BATCH", 2), ("MAX_BATCH_BYTES", 400)]
)
def test_requests_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(stow, limit, value)
    with run_stow_server(takes_all) as server:
        outcomes = stow_all(objects(tmp_path, 5), server.url)

    assert all(one.is_delivered for one in outcomes)
    assert [len(parts) for _, parts in server.requests] == [2, 2, 1]


def test_a_partial_failure_fails_what_it_names(tmp_path: Path) -> None:
    said = accepted({"1.2.3.1": 0xB000, "1.2.3.2": None}, {"1.2.3.3": 0xA700})
    with run_stow_server(lambda _path, _parts: Answer(202, said)) as server:
        outcomes = stow_all(objects(tmp_path, 4), server.url)

    assert [(one.is_delivered, one.status, one.reason) for one in outcomes] == [
        (True, 0xB000, "stored, coerced elements"),
        (True, 0, ""),
        (False, 0xA700, "out of resources (0xA700)"),
        (False, 202, "its answer does not name the instance"),
    ]


def test_what_a_conflict_names_as_stored_is_delivered(tmp_path: Path) -> None:
    # Servers of the first edition answer 409 where they stored some.
    said = accepted({"1.2.3.1": None}, {"1.2.3.2": 0xA900})
    with run_stow_server(lambda _path, _parts: Answer(409, said)) as server:
        outcomes = stow_all(objects(tmp_path, 3), server.url)

    assert [(one.is_delivered, one.is_refused) for one in outcomes] == [
        (True, False),
        (False, True),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("answer", "is_refused"),
    [
        (Answer(415), True),
        (Answer(400), True),
        (Answer(503), False),
        (Answer(401), False),
        (Answer(202, accepted({}, {"1.2.3.1": 0xC122})), True),
        (Answer(202, accepted({}, {"1.2.3.1": 0xA700})), False),
    ],
)
def test_only_what_is_about_the_instance_is_a_refusal(
    tmp_path: Path, answer: Answer, is_refused: bool
) -> None:
    with run_stow_server(lambda _path, _parts: answer) as server:
        (outcome,) = stow_all(objects(tmp_path, 1), server.url)

    assert (outcome.is_delivered, outcome.is_refused) == (False, is_refused)


def test_an_instance_in_both_lists_has_failed() -> None:
    said = accepted({"1.2.3": None}, {"1.2.3": 0x0110})
    answer = read_stow_answer(said, content_type="application/dicom+json")

    assert answer.failed == {"1.2.3": 0x0110}


def test_a_duplicate_is_delivered(tmp_path: Path) -> None:
    said = accepted({}, {"1.2.3.1": 0x0111})
    with run_stow_server(lambda _path, _parts: Answer(409, said)) as server:
        (outcome,) = stow_all(objects(tmp_path, 1), server.url)

    assert outcome.is_delivered
    assert outcome.reason == "it has it already (0x0111)"


def test_an_answer_in_xml_is_read(tmp_path: Path) -> None:
    said = b"""<?xml version="1.0"?>
    <NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
     <DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence">
      <Item number="1"><DicomAttribute tag="00081155" vr="UI">
       <Value number="1">1.2.3.1</Value></DicomAttribute></Item>
     </DicomAttribute>
     <DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence">
      <Item number="1"><DicomAttribute tag="00081155" vr="UI">
       <Value number="1">1.2.3.2</Value></DicomAttribute>
       <DicomAttribute tag="00081197" vr="US"><Value number="1">49152</Value>
       </DicomAttribute></Item>
     </DicomAttribute>
    </NativeDicomModel>"""
    answer = Answer(202, said, "application/dicom+xml")
    with run_stow_server(lambda _path, _parts: answer) as server:
        outcomes = stow_all(objects(tmp_path, 2), server.url)

    assert [one.is_delivered for one in outcomes] == [True, False]
    assert outcomes[1].reason == "cannot understand (0xC000)"


@pytest.mark.parametrize(
    "said",
    [
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"<not closed",
        b"not json",
        b'{"00081199": 3}',
        b"[]",
        b"[" * 100_000,
    ],
)
def test_an_answer_that_cannot_be_read_delivers_nothing(
    tmp_path: Path, said: bytes
) -> None:
    with run_stow_server(lambda _path, _parts: Answer(200, said)) as server:
        (outcome,) = stow_all(objects(tmp_path, 1), server.url)

    assert not outcome.is_delivered
    assert outcome.reason == "its answer cannot be read"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, "its answer does not name the instance"),
        (204, "unknown answer (204)"),
        (301, "it sends elsewhere, which is not followed (301)"),
        (307, "it sends elsewhere, which is not followed (307)"),
        (400, "it does not understand (400)"),
        (401, "it does not accept the token (401)"),
        (404, "it has no such service (404)"),
        (409, "it stored nothing (409)"),
        (418, "it refuses (418)"),
        (500, "it failed (500)"),
        (503, "it is busy (503)"),
    ],
)
def test_every_status_without_an_answer_is_told(
    tmp_path: Path, status: int, reason: str
) -> None:
    answer = Answer(status, headers={"Location": "http://127.0.0.1:1/evil"})
    with run_stow_server(lambda _path, _parts: answer) as server:
        (outcome,) = stow_all(objects(tmp_path, 1), server.url)

    assert (outcome.is_delivered, outcome.status) == (False, status)
    assert outcome.reason == reason
    assert len(server.requests) == 1


def test_what_is_too_large_together_is_sent_one_by_one(tmp_path: Path) -> None:
    def answer(path: str, parts: list[bytes]) -> Answer:
        too_large = len(parts) > 1 or any(part[-1] == 2 for part in parts)
        return Answer(413) if too_large else takes_all(path, parts)

    with run_stow_server(answer) as server:
        outcomes = stow_all(objects(tmp_path, 3), server.url)

    assert [one.is_delivered for one in outcomes] == [True, False, True]
    assert outcomes[1].reason == "it is larger than it accepts (413)"


def test_a_cut_connection_delivers_nothing(tmp_path: Path) -> None:
    with run_stow_server(lambda _path, _parts: Answer(0)) as server:
        outcomes = stow_all(objects(tmp_path), server.url)

    assert [one.reason for one in outcomes] == ["the connection was cut"] * 2


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    found: list[SendOutcome] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stow.send_by_stow(
            objects(tmp_path, 1),
            destination(f"http://127.0.0.1:{silent.getsockname()[1]}"),
            on_outcome=found.append,
            timeout_s=0.3,
        )

    assert [one.reason for one in found] == ["it did not answer in time"]


def test_a_server_that_is_not_there_cannot_be_reached(tmp_path: Path) -> None:
    (outcome,) = stow_all(objects(tmp_path, 1), f"http://127.0.0.1:{free_port()}")

    assert outcome.reason == "it cannot be reached"


def test_an_endless_answer_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow, "_MAX_ANSWER_BYTES", 1000)
    answer = Answer(200, b" " * 2000)
    with run_stow_server(lambda _path, _parts: answer) as server:
        (outcome,) = stow_all(objects(tmp_path, 1), server.url)

    assert outcome.reason == "its answer is too long"


def test_a_token_is_sent_and_its_want_is_an_outcome(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    found = objects(tmp_path, 1)
    with run_stow_server(takes_all) as server:
        stow_all(found, server.url, token_file=str(token))
        (outcome,) = stow_all(found, server.url, token_file=str(tmp_path / "none"))

    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert not outcome.is_delivered
    assert "token_file" in outcome.reason


def test_a_file_that_is_gone_is_an_outcome(tmp_path: Path) -> None:
    first, second = objects(tmp_path)
    first.path.unlink()
    with run_stow_server(takes_all) as server:
        outcomes = stow_all([first, second], server.url)

    assert [one.is_delivered for one in outcomes] == [False, True]
    assert outcomes[0].reason == "the file cannot be read"


def test_outcomes_are_told_request_by_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stow, "MAX_BATCH", 1)
    told: list[int] = []
    seen: list[SendOutcome] = []

    def answer(path: str, parts: list[bytes]) -> Answer:
        if parts:
            told.append(len(seen))
        return takes_all(path, parts)

    with run_stow_server(answer) as server:
        send(
            objects(tmp_path, 3),
            destination(server.url),
            ae_title="NODE",
            on_outcome=seen.append,
        )

    assert told == [0, 1, 2]


def test_a_service_is_asked_for_one_study() -> None:
    with run_stow_server(lambda _path, _parts: Answer(204)) as server:
        assert check(destination(server.url), ae_title="NODE") == "answers QIDO-RS"
        server.answer = lambda _path, _parts: Answer(401)
        with pytest.raises(DeliveryError, match="token"):
            check(destination(server.url), ae_title="NODE")

    assert server.requests[0][0] == "/dicom-web/studies?limit=1"


def test_every_status_has_one_row() -> None:
    for status in range(100, 600):
        assert judge_stow_status(status) in STOW_STATUSES
    for reason in range(0, 0x10000, 17):
        assert judge_stow_reason(reason) in STOW_REASONS
    assert judge_stow_status(200).is_delivered
    assert judge_stow_reason(0xC122).note == "transfer syntax not supported"
    assert judge_stow_reason(0xC123).note == "cannot understand"


@given(
    files=st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.lists(
                st.sampled_from([b"\r\n", b"--", b"aa", b"ab", b"\r\n--aa", b"--aa--"]),
                max_size=8,
            ).map(b"".join),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_files_come_out_of_a_body_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, files: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    paths = []
    for number, content in enumerate(files):
        path = folder / str(number)
        path.write_bytes(content)
        paths.append(path)
    # The first candidates occur in the files: they must be passed over.
    candidates = iter(["aa", "ab", "zzz"])

    boundary = choose_boundary(paths, lambda: next(candidates, "unlikely"))
    body = MultipartBody(paths, boundary=boundary)
    whole = b"".join(body)

    assert split_body(whole, boundary) == files
    assert len(whole) == body.content_length


def test_a_boundary_across_two_blocks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.deliver.multipart._BLOCK_BYTES", 4)
    path = tmp_path / "file"
    path.write_bytes(b"xxxneedlexxx")

    candidates = iter(["needle", "other"])

    assert choose_boundary([path], lambda: next(candidates)) == "other"


def test_a_parcel_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(50 << 20)

    sizes = [len(piece) for piece in MultipartBody([path], boundary="b")]

    assert max(sizes) <= 1 << 20
    assert threading.active_count() < 50
