"""Every event has its message or a reason for none, and every message is valid."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dicom_node.atna.batch import Batch, NodeIdentity
from dicom_node.atna.message import (
    Action,
    ActiveParticipant,
    AuditMessage,
    AuditSource,
    ObjectKind,
    Outcome,
    ParticipantObject,
)
from dicom_node.atna.parts import DCM
from dicom_node.atna.reading import node_identity
from dicom_node.atna.syslog import format_message, frame
from dicom_node.atna.table import MESSAGES, Audited, NotAudited
from dicom_node.audit import EventKind
from dicom_node.config import NodeSettings
from dicom_node.store.trail import TrailEvent, TrailStudy
from tests.builders.audit_judge import judge
from tests.builders.stores import NOON

STUDY = TrailStudy("1.2.3", "P<1>&", "Ä^Ö", "A1")
AUDITED = [kind for kind, rule in MESSAGES.items() if isinstance(rule, Audited)]
TEXTS = st.text(max_size=40)


def node() -> NodeIdentity:
    settings = NodeSettings.model_validate(
        {
            "node": {"ae_title": "NODE"},
            "audit": {"enterprise_site_id": "site"},
            "destinations": [
                {"name": "out", "kind": "folder", "folder": str(Path("/out"))},
                {
                    "name": "pacs",
                    "kind": "dimse",
                    "ae_title": "ARCHIVE",
                    "host": "10.0.0.7",
                    "port": 104,
                },
            ],
        }
    )
    return NodeIdentity("NODE", "machine", settings)


def batch(kind: EventKind, *, subject: str = "pacs", **detail: object) -> Batch:
    event = TrailEvent(7, NOON, kind, 1, subject, detail)
    return Batch([event], node(), study=STUDY, classes={"1.2.3.4": "1.2.840"})


def message(kind: EventKind, **options: object) -> etree._Element:
    rule = MESSAGES[kind]
    assert isinstance(rule, Audited)
    return judge(rule.make(batch(kind, **options)).to_xml())  # type: ignore[arg-type]


def event_id(root: etree._Element) -> str:
    return str(root.find("EventIdentification/EventID").get("csd-code"))


def test_every_kind_of_event_is_in_the_table() -> None:
    assert set(MESSAGES) == set(EventKind)
    for rule in MESSAGES.values():
        assert isinstance(rule, Audited) or len(rule.why) > 20


def test_the_documentation_tells_every_kind_of_event() -> None:
    page = Path(__file__).parents[3] / "docs" / "audit.md"
    text, _, silent = page.read_text(encoding="utf-8").partition("## What is not")

    for kind, rule in MESSAGES.items():
        assert f"`{kind}`" in (text if isinstance(rule, Audited) else silent)


def test_what_is_not_audited_says_why() -> None:
    silent = {one for one, rule in MESSAGES.items() if isinstance(rule, NotAudited)}

    assert EventKind.COMMITMENT_REQUESTED in silent
    assert EventKind.STUDY_VIEWED not in silent


@pytest.mark.parametrize("kind", AUDITED)
def test_every_message_is_valid(kind: EventKind) -> None:
    root = message(kind, destination="out", person="ann", comment="<&>", by="ann")

    assert event_id(root).startswith("1101")
    patients = root.xpath(
        "ParticipantObjectIdentification[@ParticipantObjectTypeCodeRole='1']"
    )
    assert len(patients) <= 1


@pytest.mark.parametrize(
    ("kind", "detail", "code", "action", "outcome"),
    [
        (EventKind.INSTANCE_RECEIVED, {}, "110104", "C", "0"),
        (EventKind.INSTANCE_REPEATED, {}, "110104", "R", "0"),
        (EventKind.INSTANCE_CONFLICT, {}, "110104", "C", "4"),
        (EventKind.DELIVERY_BEGUN, {"destination": "pacs"}, "110102", "E", "0"),
        (EventKind.RESULT_DELIVERED, {"destination": "pacs"}, "110104", "C", "0"),
        (EventKind.RESULT_DELIVERED, {"destination": "out"}, "110106", "R", "0"),
        (EventKind.DELIVERY_FAILED, {"destination": "pacs"}, "110104", "C", "4"),
        (EventKind.DELIVERY_DEAD, {"destination": "pacs"}, "110104", "C", "8"),
        (EventKind.REPORT_RECEIVED, {}, "110107", "C", "0"),
        (EventKind.STUDY_VIEWED, {"person": "ann"}, "110103", "R", "0"),
        (EventKind.STUDY_REMOVED, {}, "110105", "D", "0"),
        (EventKind.STUDIES_SEARCHED, {"person": "ann"}, "110112", "E", "0"),
        (EventKind.NODE_STARTED, {}, "110100", "E", "0"),
        (EventKind.SIGNED_IN, {}, "110114", "E", "0"),
        (EventKind.SIGN_IN_REFUSED, {"reason": "password"}, "110114", "E", "4"),
        (EventKind.ASSOCIATION_REFUSED, {"reason": "calling"}, "110113", "E", "4"),
        (EventKind.TLS_FAILED, {"reason": "expired"}, "110113", "E", "4"),
        (EventKind.SWITCH_CHANGED, {"by": "ann"}, "110113", "E", "0"),
    ],
)
def test_an_event_becomes_the_message_of_the_standard(
    kind: EventKind, detail: dict[str, object], code: str, action: str, outcome: str
) -> None:
    root = message(kind, **detail)

    event = root.find("EventIdentification")
    assert event_id(root) == code
    assert event.get("EventActionCode") == action
    assert event.get("EventOutcomeIndicator") == outcome
    assert event.get("EventDateTime") == "2026-01-01T12:00:00.000000+00:00"


def test_a_message_names_the_study_and_its_patient() -> None:
    root = message(EventKind.INSTANCE_RECEIVED, subject="1.2.3.4")

    study, patient = root.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert study.find(".//Accession").get("Number") == "A1"
    assert study.find(".//SOPClass").attrib == {
        "UID": "1.2.840",
        "NumberOfInstances": "1",
    }
    assert patient.get("ParticipantObjectID") == "P<1>&"
    assert patient.findtext("ParticipantObjectName") == "Ä^Ö"


def test_a_destination_is_named_as_it_is_called() -> None:
    root = message(EventKind.RESULT_STORED, destination="pacs")

    sender, receiver = root.findall("ActiveParticipant")
    assert sender.get("UserID") == "NODE"
    assert sender.get("AlternativeUserID") == "AETITLES=NODE"
    assert receiver.get("UserID") == "ARCHIVE"
    assert receiver.get("NetworkAccessPointID") == "10.0.0.7"
    assert receiver.get("NetworkAccessPointTypeCode") == "2"


def test_a_query_is_told_by_its_attributes() -> None:
    root = message(EventKind.STUDIES_SEARCHED, asked_by="PatientID", how="qido-rs")

    query = root.findtext(".//ParticipantObjectQuery")
    assert base64.b64decode(query) == b"PatientID"


@given(name=TEXTS, user=TEXTS, why=TEXTS, detail=TEXTS)
def test_any_text_makes_one_line_of_valid_xml(
    name: str, user: str, why: str, detail: str
) -> None:
    made = AuditMessage(
        event_id=DCM.SecurityAlert,
        action=Action.EXECUTE,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        participants=(ActiveParticipant(user, is_requestor=True, address=name),),
        source=AuditSource("NODE", name),
        outcome=Outcome.SERIOUS_FAILURE,
        outcome_description=why,
        objects=(
            ParticipantObject(
                user,
                ObjectKind.PATIENT,
                DCM.NodeID,
                name=name,
                accession_number=detail,
                details={"Alert Description": detail},
            ),
        ),
    )

    line = format_message(made, node())

    assert line.startswith(
        b"<83>1 2026-01-01T00:00:00.000000Z machine dicom-node - DICOM+RFC3881 - "
        b"\xef\xbb\xbf<AuditMessage>"
    )
    assert b"\n" not in line
    assert b"\r" not in line
    root = judge(line.partition(b" - DICOM+RFC3881 - ")[2])
    if name.isascii() and name.isprintable():
        assert root.findtext(".//ParticipantObjectName") == name
    assert frame(line) == str(len(line)).encode() + b" " + line


def test_a_large_message_is_framed_whole() -> None:
    made = AuditMessage(
        event_id=DCM.SecurityAlert,
        action=Action.EXECUTE,
        at=NOON,
        participants=(ActiveParticipant("x" * 40_000, is_requestor=True),),
        source=AuditSource("NODE"),
    )

    line = format_message(made, node())

    assert len(line) > 32_768
    judge(line.partition(b" - DICOM+RFC3881 - ")[2])


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        ({"is_committed": True, "comment": ""}, "it committed to them"),
        ({"is_committed": False, "comment": "not offered"}, "not offered"),
        ({"comment": ""}, None),
    ],
)
def test_only_what_a_destination_committed_to_is_told_as_committed(
    detail: dict[str, object], why: str | None
) -> None:
    root = message(
        EventKind.RESULT_DELIVERED,
        destination="pacs",
        transaction_uid="1.2.3.9",
        **detail,
    )

    assert root.findtext("EventIdentification/EventOutcomeDescription") == why


def test_a_certificate_that_ends_is_named_with_its_end() -> None:
    root = message(
        EventKind.CERTIFICATE_EXPIRES, use="dicom_tls", not_after="2026-02-01"
    )

    assert described(root)["Alert Description"] == (
        "certificate dicom_tls is valid until 2026-02-01"
    )


def test_callers_that_were_closed_unheard_are_counted_apart() -> None:
    root = message(
        EventKind.ASSOCIATION_REFUSED, reason="calling", count=0, turned_away=940
    )

    told = described(root)
    assert told["Closed Unheard"] == "940"
    assert "Count" not in told


def described(root: etree._Element) -> dict[str, str]:
    return {
        one.get("type"): base64.b64decode(one.get("value")).decode()
        for one in root.iter("ParticipantObjectDetail")
    }


def test_another_process_of_the_node_makes_the_same_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    for pid in (42, 43):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        identity = node_identity(node().settings)
        rule = MESSAGES[EventKind.STUDY_PROCESSED]
        assert isinstance(rule, Audited)
        event = TrailEvent(7, NOON, EventKind.STUDY_PROCESSED, 1, "1.2.3", {})
        made.append(format_message(rule.make(Batch([event], identity)), identity))

    assert made[0] == made[1]
