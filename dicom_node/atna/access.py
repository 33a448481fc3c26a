"""Messages about studies that are read, looked for, changed or deleted.

References
----------
.. [1] PS3.15 A.5.3.2 DICOM Instances Accessed, A.5.3.8 DICOM Study Deleted,
   A.5.3.10 Query.
"""

from __future__ import annotations

from dicom_node.atna.batch import Batch
from dicom_node.atna.message import (
    Action,
    ActiveParticipant,
    AuditMessage,
    ObjectKind,
    Outcome,
    ParticipantObject,
)
from dicom_node.atna.parts import (
    DCM,
    node_participant,
    peer_address,
    person_participant,
    study_objects,
)

__all__ = [
    "archive_asked",
    "archive_failed",
    "region_corrected",
    "report_verified",
    "results_made",
    "studies_searched",
    "study_removed",
    "study_viewed",
]

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""What QIDO-RS is a form of, PS3.18 8.2: A.5.3.10 asks for a SOP Class UID."""


def results_made(batch: Batch) -> AuditMessage:
    """Tell that the node read a study and made results of it."""
    return _accessed(batch, Action.CREATE, node_participant(batch, is_requestor=True))


def study_viewed(batch: Batch) -> AuditMessage:
    """Tell that somebody, person or program, read a study or its results."""
    return _accessed(batch, Action.READ, _person(batch))


def region_corrected(batch: Batch) -> AuditMessage:
    """Tell that a person accepted, rejected or redrew a region."""
    return _accessed(batch, Action.UPDATE, _person(batch))


def report_verified(batch: Batch) -> AuditMessage:
    """Tell that a person took responsibility for a corrected report."""
    return _accessed(batch, Action.CREATE, _person(batch))


def study_removed(batch: Batch) -> AuditMessage:
    """Tell that a study's images or results were deleted."""
    return AuditMessage(
        event_id=DCM.DICOMStudyDeleted,
        action=Action.DELETE,
        at=batch.at,
        participants=(node_participant(batch, is_requestor=True),),
        source=batch.node.source,
        outcome_description=batch.text("reason"),
        objects=study_objects(batch),
    )


def studies_searched(batch: Batch) -> AuditMessage:
    """Tell that a person or program looked for studies over HTTP."""
    asker = person_participant(
        batch.text("person"), address=batch.text("address"), role=DCM.SourceRoleID
    )
    # Of what was asked for only the attributes are kept: its values name patients.
    asked = batch.text("asked_by") or batch.text("how")
    return _query(
        batch, (asker, node_participant(batch, role=DCM.DestinationRoleID)), asked
    )


def archive_asked(batch: Batch) -> AuditMessage:
    """Tell that the node asked an archive for a study; what came is told then."""
    return _query(batch, _to_archive(batch), "StudyInstanceUID")


def archive_failed(batch: Batch) -> AuditMessage:
    """Tell that an archive gave less than it announced, or nothing."""
    return _query(
        batch,
        _to_archive(batch),
        "StudyInstanceUID",
        outcome=Outcome.MINOR_FAILURE,
        why=batch.text("reason"),
    )


def _accessed(batch: Batch, action: Action, who: ActiveParticipant) -> AuditMessage:
    participants: tuple[ActiveParticipant, ...] = (who,)
    own = node_participant(batch, is_requestor=True)
    if who != own:
        participants = (who, node_participant(batch))
    return AuditMessage(
        event_id=DCM.DICOMInstancesAccessed,
        action=action,
        at=batch.at,
        participants=participants,
        source=batch.node.source,
        objects=study_objects(batch),
    )


def _person(batch: Batch) -> ActiveParticipant:
    return person_participant(batch.text("person"), address=batch.text("address"))


def _to_archive(batch: Batch) -> tuple[ActiveParticipant, ...]:
    called, place = peer_address(batch.node.settings, batch.subject)
    archive = ActiveParticipant(
        user_id=called, is_requestor=False, role=DCM.DestinationRoleID, address=place
    )
    return (
        node_participant(batch, role=DCM.SourceRoleID, is_requestor=True),
        archive,
    )


def _query(
    batch: Batch,
    participants: tuple[ActiveParticipant, ...],
    asked: str,
    *,
    outcome: Outcome = Outcome.SUCCESS,
    why: str = "",
) -> AuditMessage:
    query = ParticipantObject(
        id=_STUDY_ROOT_FIND,
        kind=ObjectKind.REPORT,
        id_type=DCM.SOPClassUID,
        query=asked.encode(),
    )
    return AuditMessage(
        event_id=DCM.Query,
        action=Action.EXECUTE,
        at=batch.at,
        participants=participants,
        source=batch.node.source,
        outcome=outcome,
        outcome_description=why,
        objects=(query, *study_objects(batch)),
    )
