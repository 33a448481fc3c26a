"""What is answered to a message, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import hl7
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dicom_node.audit import Counters
from dicom_node.errors import PatientMismatchError, StoreError
from dicom_node.hl7.answering import Answering
from dicom_node.inbox import ReportInbox
from dicom_node.records import IncomingReport
from dicom_node.store import Store
from tests.builders.hl7_messages import CONTROL_ID, make_oru, obx
from tests.builders.stores import NOON, received


class _Inbox:
    """Keeps reports in a list, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.reports: list[IncomingReport] = []
        self.error = error

    def accept_all(self, arrived: Sequence[IncomingReport]) -> None:
        if self.error is not None:
            raise self.error
        self.reports += arrived


def _answering(inbox: object, registry: CollectorRegistry | None = None) -> Answering:
    counters = Counters(registry or CollectorRegistry())
    return Answering(
        inbox,  # type: ignore[arg-type]
        clock=lambda: NOON,
        counters=counters,
        processing_ids=("P", "T"),
    )


def _answers(text: str, inbox: object | None = None) -> list[hl7.Message]:
    found = _answering(inbox or _Inbox()).answer(text.encode())
    return [hl7.parse(one.decode()) for one in found]


def _codes(text: str, inbox: object | None = None) -> list[str]:
    return [str(one.segment("MSA")(1)) for one in _answers(text, inbox)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open an empty store."""
    store = Store(f"sqlite:///{tmp_path / 'node.sqlite'}")
    store.migrate()
    yield store
    store.close()


def test_the_answer_names_the_message_and_turns_the_applications_round() -> None:
    (answer,) = _answers(make_oru(obx("x"), msh={11: "T", 18: "8859/1"}))

    header, message = answer.segment("MSH"), answer.segment("MSA")
    assert [str(header(n)) for n in (3, 4, 5, 6)] == [
        "NODE",
        "RADIOLOGY",
        "RIS",
        "HOSPITAL",
    ]
    assert [str(header(n)) for n in (9, 11, 12, 18)] == [
        "ACK^R01^ACK",
        "T",
        "2.5.1",
        "8859/1",
    ]
    assert [str(message(n)) for n in (1, 2)] == ["AA", CONTROL_ID]
    assert len(str(header(10))) == 20


def test_each_answer_has_an_identifier_of_its_own() -> None:
    answering = _answering(_Inbox())
    data = make_oru(obx("x")).encode()

    answers = [answering.answer(data)[0] for _ in range(3)]

    assert (
        len({str(hl7.parse(one.decode()).segment("MSH")(10)) for one in answers}) == 3
    )


def test_a_message_is_accepted_when_its_report_is_in_the_store(store: Store) -> None:
    inbox = ReportInbox(store, clock=lambda: NOON)

    codes = _codes(make_oru(obx("Left effusion."), extra=["ZDS|1.2.3"]), inbox)

    assert codes == ["AA"]
    assert [one.text for one in store.reports.waiting()] == ["Left effusion."]


def test_a_message_sent_again_is_accepted_and_kept_once(store: Store) -> None:
    inbox = ReportInbox(store, clock=lambda: NOON)
    text = make_oru(obx("Left effusion."), extra=["ZDS|1.2.3"])

    codes = [*_codes(text, inbox), *_codes(text, inbox)]

    assert codes == ["AA", "AA"]
    assert len(store.reports.waiting()) == 1


def test_a_database_that_is_away_is_an_error_the_sender_retries() -> None:
    inbox = _Inbox(StoreError("the database is away"))

    (answer,) = _answers(make_oru(obx("x")), inbox)

    assert str(answer.segment("MSA")(1)) == "AE"
    assert "207" in str(answer.segment("ERR")(3))


@pytest.mark.parametrize(
    ("text", "code", "place", "number"),
    [
        (make_oru(obx("x"), msh={9: "ADT^A01"}), "AR", "MSH^1^9", "200"),
        (make_oru(obx("x"), msh={11: "D"}), "AR", "MSH^1^11", "202"),
        (make_oru(obx("x"), msh={12: "3"}), "AR", "MSH^1^12", "203"),
        (make_oru(obx("x")) * 2, "AE", "MSH", "100"),
        (make_oru(*[obx("x")] * 20_001), "AE", "", "207"),
        (make_oru(), "AE", "OBX", "100"),
        (make_oru(obx("x"), obr={3: ""}), "AE", "OBR^1^18", "101"),
        (make_oru(obx("x"), obr={3: "A", 25: "?"}), "AE", "OBR^1^25", "103"),
    ],
)
def test_a_refusal_says_where_and_why(
    text: str, code: str, place: str, number: str
) -> None:
    (answer,) = _answers(text)

    error = answer.segment("ERR")
    assert str(answer.segment("MSA")(1)) == code
    assert str(error(2)).startswith(place)
    assert str(error(3)).startswith(number)
    assert str(error(4)) == "E"


def test_of_several_patients_all_reports_are_kept_or_none(store: Store) -> None:
    store.record_instance(
        received(1, study_instance_uid="1.2.3", study={"PatientID": "P"})
    )
    inbox = ReportInbox(store, clock=lambda: NOON)
    second = ["PID|2||Q", "OBR|1||ACC2" + "|" * 22 + "F", obx("Of Q.")]
    text = make_oru(obx("Of P."), pid3="P", extra=second)

    assert _codes(text + "ZDS|1.2.3\r", inbox) == ["AE"]
    assert store.reports.waiting() == store.reports.of_study("1.2.3") == ()

    assert _codes(text, inbox) == ["AA"]
    assert {one.text for one in store.reports.waiting()} == {"Of P.", "Of Q."}


def test_an_old_version_gets_the_error_in_its_own_form() -> None:
    (answer,) = _answers(make_oru(obx("x"), obr={3: ""}, msh={12: "2.3"}))

    assert str(answer.segment("MSH")(9)) == "ACK^R01"
    assert str(answer.segment("ERR")(1)).startswith("OBR^1^18^101&")


def test_another_patient_is_an_error_that_quotes_nothing() -> None:
    inbox = _Inbox(PatientMismatchError())
    registry = CollectorRegistry()
    text = make_oru(obx("Left effusion of DOE"), pid3="4711")

    with capture_logs() as logs:
        (data,) = _answering(inbox, registry).answer(text.encode())

    assert b"|AE|" in data
    for secret in ("4711", "DOE", "effusion", "ACC1"):
        assert secret.encode() not in data
        assert secret not in str(logs)
    labels = {"channel": "hl7", "outcome": "patient_mismatch"}
    assert registry.get_sample_value("dicom_node_report_messages_total", labels) == 1


@pytest.mark.parametrize("broken", ["", "hello", "BHS|^~\\&|", "MSH", "\x00\x01"])
def test_what_is_no_message_gets_an_answer(broken: str) -> None:
    (answer,) = _answers(broken)

    assert str(answer.segment("MSA")(1)) == "AE"
    assert str(answer.segment("MSH")(2)) == "^~\\&"


def test_an_acknowledgement_is_not_answered() -> None:
    assert _answers(make_oru(msh={9: "ACK^R01"})) == []


@pytest.mark.parametrize(
    ("commit", "application", "good", "bad"),
    [
        ("", "", ["AA"], ["AE"]),
        ("AL", "NE", ["CA"], ["CE"]),
        ("AL", "AL", ["CA", "AA"], ["CE"]),
        ("NE", "AL", ["AA"], ["AE"]),
        ("NE", "NE", [], []),
        ("ER", "NE", [], ["CE"]),
        ("SU", "ER", ["CA"], ["AE"]),
        ("", "SU", ["AA"], []),
    ],
)
def test_enhanced_mode_answers_as_asked(
    commit: str, application: str, good: list[str], bad: list[str]
) -> None:
    modes = {15: commit, 16: application}

    assert _codes(make_oru(obx("x"), msh=modes)) == good
    assert _codes(make_oru(obx("x"), msh=modes, obr={3: ""})) == bad


def test_a_rejected_message_is_rejected_in_enhanced_mode() -> None:
    modes = {9: "ADT^A01", 15: "AL", 16: "NE"}

    assert _codes(make_oru(obx("x"), msh=modes)) == ["CR"]


def test_the_characters_of_the_sender_come_back_as_they_were() -> None:
    text = make_oru(obx("x"), msh={3: "KLINIK-MÜD", 18: "8859/1"})

    (data,) = _answering(_Inbox()).answer(text.encode("latin-1"))

    assert "KLINIK-MÜD".encode("latin-1") in data


def test_an_error_of_the_node_is_answered_and_not_quoted() -> None:
    inbox = _Inbox(RuntimeError("DOE^JANE"))

    with capture_logs() as logs:
        (answer,) = _answers(make_oru(obx("x")), inbox)

    assert str(answer.segment("MSA")(1)) == "AE"
    assert "DOE" not in str(answer) + str(logs)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(b"MSH|^~\\&|".__add__))
def test_random_bytes_never_break_it(data: bytes) -> None:
    for one in _answering(_Inbox()).answer(data):
        assert b"\rMSA" in one
