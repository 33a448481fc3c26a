"""Messages about the node itself, who signs in, and who was not let in.

References
----------
.. [1] PS3.15 A.5.3.1 Application Activity, A.5.3.11 Security Alert, A.5.3.12 User
   Authentication.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from dicom_node.atna.batch import Batch
from dicom_node.atna.message import (
    Action,
    ActiveParticipant,
    AuditMessage,
    ObjectKind,
    Outcome,
    ParticipantObject,
)
from dicom_node.atna.parts import DCM, node_participant, person_participant

__all__ = [
    "application_start",
    "application_stop",
    "association_refused",
    "certificate_expires",
    "sign_in_refused",
    "signed_in",
    "signed_out",
    "switch_changed",
    "tls_failed",
    "user_changed",
]


def application_start(batch: Batch) -> AuditMessage:
    """Tell that the node started."""
    return _activity(batch, DCM.ApplicationStart)


def application_stop(batch: Batch) -> AuditMessage:
    """Tell that the node stopped."""
    return _activity(batch, DCM.ApplicationStop)


def signed_in(batch: Batch) -> AuditMessage:
    """Tell that a person signed in."""
    return _authentication(batch, DCM.Login)


def sign_in_refused(batch: Batch) -> AuditMessage:
    """Tell that a name and password did not fit."""
    return _authentication(
        batch, DCM.Login, outcome=Outcome.MINOR_FAILURE, why=batch.text("reason")
    )


def signed_out(batch: Batch) -> AuditMessage:
    """Tell that a person ended their session."""
    return _authentication(batch, DCM.Logout)


def switch_changed(batch: Batch) -> AuditMessage:
    """Tell that an operator turned something on or off."""
    return _alert(
        batch,
        DCM.SoftwareConfiguration,
        who=batch.text("by"),
        what=f"{batch.subject} = {batch.text('value')}",
    )


def user_changed(batch: Batch) -> AuditMessage:
    """Tell that a person who may sign in was added, changed or removed."""
    is_role = bool(batch.text("role"))
    kind = DCM.SecurityRolesChanged if is_role else DCM.UserSecurityAttributesChanged
    what = f"user {batch.subject}: {batch.text('change')} {batch.text('role')}"
    return _alert(batch, kind, what=what.strip())


def association_refused(batch: Batch) -> AuditMessage:
    """Tell that a peer called that may not."""
    return _node_alert(batch, batch.text("calling_ae_title") or batch.subject)


def tls_failed(batch: Batch) -> AuditMessage:
    """Tell that a peer's certificate or handshake was not accepted."""
    return _node_alert(batch, batch.text("calling_ae_title") or "unknown")


def certificate_expires(batch: Batch) -> AuditMessage:
    """Tell that a certificate of the node's own ends soon, or has ended."""
    use, ends = batch.text("use"), batch.text("not_after")
    what = f"certificate {use} is valid until {ends}"
    return _alert(batch, DCM.SecurityConfiguration, what=what)


def _activity(batch: Batch, kind: Code) -> AuditMessage:
    return AuditMessage(
        event_id=DCM.ApplicationActivity,
        event_type=kind,
        action=Action.EXECUTE,
        at=batch.at,
        participants=(node_participant(batch, role=DCM.Application),),
        source=batch.node.source,
    )


def _authentication(
    batch: Batch,
    kind: Code,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    why: str = "",
) -> AuditMessage:
    person = person_participant(batch.subject, address=batch.text("address"))
    return AuditMessage(
        event_id=DCM.UserAuthentication,
        event_type=kind,
        action=Action.EXECUTE,
        at=batch.at,
        participants=(person, node_participant(batch)),
        source=batch.node.source,
        outcome=outcome,
        outcome_description=why,
    )


def _alert(batch: Batch, kind: Code, *, what: str, who: str = "") -> AuditMessage:
    node = node_participant(batch)
    people = (person_participant(who),) if who else ()
    return AuditMessage(
        event_id=DCM.SecurityAlert,
        event_type=kind,
        action=Action.EXECUTE,
        at=batch.at,
        participants=(node, *people),
        source=batch.node.source,
        objects=(
            ParticipantObject(
                id=batch.node.host,
                kind=ObjectKind.SECURITY_RESOURCE,
                id_type=DCM.NodeID,
                name=batch.node.ae_title,
                details={"Alert Description": what},
            ),
        ),
    )


def _node_alert(batch: Batch, who: str) -> AuditMessage:
    # Another part of the node may have gathered several tries into one event.
    address = batch.text("peer_address") or batch.text("address")
    peer = ActiveParticipant(user_id=who, is_requestor=True, address=address)
    told = {
        "Alert Description": batch.text("reason") or batch.subject,
        "Count": _number(batch, "count"),
        "Closed Unheard": _number(batch, "turned_away"),
    }
    return AuditMessage(
        event_id=DCM.SecurityAlert,
        event_type=DCM.NodeAuthentication,
        action=Action.EXECUTE,
        at=batch.at,
        participants=(node_participant(batch), peer),
        source=batch.node.source,
        outcome=Outcome.MINOR_FAILURE,
        outcome_description=batch.text("reason"),
        objects=(
            ParticipantObject(
                id=address or who,
                kind=ObjectKind.SECURITY_RESOURCE,
                id_type=DCM.NodeID,
                name=who,
                details={name: value for name, value in told.items() if value},
            ),
        ),
    )


def _number(batch: Batch, key: str) -> str:
    value = batch.text(key)
    return "" if value == "0" else value
