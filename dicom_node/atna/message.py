"""An audit message, PS3.15 A.5.1, and its XML.

References
----------
.. [1] PS3.15 A.5.1.1, the schema; A.5.2, what each element means.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

# Only writes: nothing that came from outside is parsed.
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.sr.coding import Code

__all__ = [
    "Action",
    "ActiveParticipant",
    "AuditMessage",
    "AuditSource",
    "ObjectKind",
    "Outcome",
    "ParticipantObject",
]


class Action(StrEnum):
    """EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


class ObjectKind(StrEnum):
    """ParticipantObjectTypeCode and ParticipantObjectTypeCodeRole, PS3.15 A.5.2.5."""

    PATIENT = "1/1"
    REPORT = "2/3"
    """A study too: A.5.3 gives both this role."""
    SECURITY_USER = "1/11"
    SECURITY_RESOURCE = "2/13"


@dataclass(frozen=True, slots=True)
class ActiveParticipant:
    """A person or process that took part, PS3.15 A.5.2.3."""

    user_id: str
    is_requestor: bool
    role: Code | None = None
    alternative_user_id: str = ""
    address: str = ""
    """NetworkAccessPointID: an IP address, or a host's name."""
    media_type: Code | None = None


@dataclass(frozen=True, slots=True)
class ParticipantObject:
    """What an event was about, PS3.15 A.5.2.5."""

    id: str
    kind: ObjectKind
    id_type: Code
    name: str = ""
    query: bytes | None = None
    """ParticipantObjectQuery; it takes the place of the name."""
    accession_number: str = ""
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    """Instances by SOP Class UID."""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Who reports, PS3.15 A.5.2.4."""

    id: str
    enterprise_site_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One audit message; it is about one patient at most."""

    event_id: Code
    action: Action
    at: datetime
    participants: tuple[ActiveParticipant, ...]
    source: AuditSource
    event_type: Code | None = None
    outcome: Outcome = Outcome.SUCCESS
    outcome_description: str = ""
    objects: tuple[ParticipantObject, ...] = ()

    def to_xml(self) -> bytes:
        """Return it as one line of UTF-8 without an XML declaration."""
        root = Element("AuditMessage")
        event = SubElement(
            root,
            "EventIdentification",
            EventActionCode=self.action,
            EventDateTime=self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            EventOutcomeIndicator=str(int(self.outcome)),
        )
        _add_code(event, "EventID", self.event_id)
        if self.event_type is not None:
            _add_code(event, "EventTypeCode", self.event_type)
        if self.outcome_description:
            described = SubElement(event, "EventOutcomeDescription")
            described.text = _clean(self.outcome_description)
        for participant in self.participants:
            _add_participant(root, participant)
        _add_source(root, self.source)
        for one in self.objects:
            _add_object(root, one)
        written: bytes = tostring(root, encoding="utf-8", xml_declaration=False)
        return written


_UNFIT = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
"""What XML 1.0 cannot hold, and what would end a line."""


def _clean(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def _add_code(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent,
        name,
        {
            "csd-code": code.value,
            "codeSystemName": code.scheme_designator,
            "originalText": code.meaning,
        },
    )


def _add_participant(root: Element, one: ActiveParticipant) -> None:
    element = SubElement(
        root,
        "ActiveParticipant",
        UserID=_clean(one.user_id),
        UserIsRequestor="true" if one.is_requestor else "false",
    )
    if one.alternative_user_id:
        element.set("AlternativeUserID", _clean(one.alternative_user_id))
    if one.address:
        element.set("NetworkAccessPointID", _clean(one.address))
        element.set("NetworkAccessPointTypeCode", _access_point_type(one.address))
    if one.role is not None:
        _add_code(element, "RoleIDCode", one.role)
    if one.media_type is not None:
        medium = SubElement(element, "MediaIdentifier")
        _add_code(medium, "MediaType", one.media_type)


def _access_point_type(address: str) -> str:
    """Return 1 for a machine's name, 2 for an IP address, 5 for a URI."""
    if "://" in address:
        return "5"
    return (
        "2" if re.fullmatch(r"[0-9.]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.%]*", address) else "1"
    )


def _add_source(root: Element, source: AuditSource) -> None:
    element = SubElement(
        root, "AuditSourceIdentification", AuditSourceID=_clean(source.id)
    )
    if source.enterprise_site_id:
        element.set("AuditEnterpriseSiteID", _clean(source.enterprise_site_id))
    # PS3.15 A.5.1.2.1: an application server.
    SubElement(element, "AuditSourceTypeCode", {"csd-code": "4"})


def _add_object(root: Element, one: ParticipantObject) -> None:
    type_code, _, role = one.kind.partition("/")
    element = SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(one.id),
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(element, "ParticipantObjectIDTypeCode", one.id_type)
    if one.query is not None:
        query = SubElement(element, "ParticipantObjectQuery")
        query.text = base64.b64encode(one.query).decode()
    else:
        # The schema asks for one of the two: without a name it is an empty one.
        SubElement(element, "ParticipantObjectName").text = _clean(one.name)
    for name, value in one.details.items():
        SubElement(
            element,
            "ParticipantObjectDetail",
            type=_clean(name),
            value=base64.b64encode(_clean(value).encode()).decode(),
        )
    if one.accession_number or one.sop_classes:
        about = SubElement(element, "ParticipantObjectDescription")
        if one.accession_number:
            SubElement(about, "Accession", Number=_clean(one.accession_number))
        for sop_class_uid, count in sorted(one.sop_classes.items()):
            SubElement(
                about, "SOPClass", UID=sop_class_uid, NumberOfInstances=str(count)
            )
