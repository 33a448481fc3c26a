"""Messages about instances and reports that come in and go out.

References
----------
.. [1] PS3.15 A.5.3.3 Begin Transferring, A.5.3.4 Data Export, A.5.3.5 Data Import,
   A.5.3.7 DICOM Instances Transferred.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from dicom_node.atna.batch import Batch
from dicom_node.atna.message import (
    Action,
    ActiveParticipant,
    AuditMessage,
    Outcome,
)
from dicom_node.atna.parts import DCM, node_participant, peer_address, study_objects

__all__ = [
    "conflicting",
    "delivered",
    "delivery_begun",
    "given_up",
    "not_sent",
    "received",
    "repeated",
    "report_imported",
    "sent",
]


def received(batch: Batch) -> AuditMessage:
    """Tell that instances came that were not here (action C)."""
    return _transferred_in(batch, Action.CREATE)


def repeated(batch: Batch) -> AuditMessage:
    """Tell that instances came that were here (action R)."""
    return _transferred_in(batch, Action.READ)


def conflicting(batch: Batch) -> AuditMessage:
    """Tell that instances came under UIDs that were here with other bytes."""
    return _transferred_in(
        batch,
        Action.CREATE,
        outcome=Outcome.MINOR_FAILURE,
        why="the UID was here with other bytes: both are kept",
    )


def delivery_begun(batch: Batch) -> AuditMessage:
    """Tell that results are about to be sent."""
    return AuditMessage(
        event_id=DCM.BeginTransferringDICOMInstances,
        action=Action.EXECUTE,
        at=batch.at,
        participants=_outwards(batch),
        source=batch.node.source,
        objects=study_objects(batch),
    )


def sent(batch: Batch) -> AuditMessage:
    """Tell that a destination took results, or a folder did."""
    return _transferred_out(batch)


def delivered(batch: Batch) -> AuditMessage:
    """Tell that a destination took results, or has now committed to them."""
    # A Transaction UID is no sign: what was never asked, or was waived, has one too.
    is_committed = batch.detail.get("is_committed") is True
    why = "it committed to them" if is_committed else batch.text("comment")
    return _transferred_out(batch, why=why)


def not_sent(batch: Batch) -> AuditMessage:
    """Tell that a destination did not take results; they are sent again."""
    return _transferred_out(
        batch, outcome=Outcome.MINOR_FAILURE, why=batch.text("comment")
    )


def given_up(batch: Batch) -> AuditMessage:
    """Tell that results are not sent to a destination any more."""
    return _transferred_out(
        batch, outcome=Outcome.SERIOUS_FAILURE, why=batch.text("comment")
    )


def report_imported(batch: Batch) -> AuditMessage:
    """Tell that a report came by HL7, FHIR or REST."""
    channel, _, _ = batch.subject.partition(":")
    return AuditMessage(
        event_id=DCM.Import,
        action=Action.CREATE,
        at=batch.at,
        participants=(
            node_participant(batch, role=DCM.DestinationRoleID),
            ActiveParticipant(
                user_id=channel or "report",
                is_requestor=True,
                role=DCM.SourceMedia,
                media_type=DCM.URI,
            ),
        ),
        source=batch.node.source,
        objects=study_objects(batch),
    )


def _transferred_in(
    batch: Batch,
    action: Action,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    why: str = "",
) -> AuditMessage:
    sender = ActiveParticipant(
        user_id=batch.text("calling_ae_title") or "unknown",
        is_requestor=True,
        role=DCM.SourceRoleID,
        address=batch.text("peer_address"),
    )
    return AuditMessage(
        event_id=DCM.DICOMInstancesTransferred,
        action=action,
        at=batch.at,
        participants=(sender, node_participant(batch, role=DCM.DestinationRoleID)),
        source=batch.node.source,
        outcome=outcome,
        outcome_description=why,
        objects=study_objects(batch),
    )


def _transferred_out(
    batch: Batch, *, outcome: Outcome = Outcome.SUCCESS, why: str = ""
) -> AuditMessage:
    is_export = _is_folder(batch)
    return AuditMessage(
        event_id=DCM.Export if is_export else DCM.DICOMInstancesTransferred,
        action=Action.READ if is_export else Action.CREATE,
        at=batch.at,
        participants=_outwards(batch),
        source=batch.node.source,
        outcome=outcome,
        outcome_description=why,
        objects=study_objects(batch),
    )


def _outwards(batch: Batch) -> tuple[ActiveParticipant, ...]:
    name = batch.text("destination") or batch.subject
    called, place = peer_address(batch.node.settings, name)
    is_folder = _is_folder(batch)
    role: Code = DCM.DestinationMedia if is_folder else DCM.DestinationRoleID
    receiver = ActiveParticipant(
        user_id=called,
        is_requestor=False,
        role=role,
        address=place,
        media_type=DCM.URI if is_folder else None,
    )
    sender = node_participant(batch, role=DCM.SourceRoleID, is_requestor=True)
    return (sender, receiver)


def _is_folder(batch: Batch) -> bool:
    name = batch.text("destination")
    return any(
        one.name == name and one.kind == "folder"
        for one in batch.node.settings.destinations
    )
