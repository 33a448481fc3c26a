"""What messages are put together from: the node, its peers, patients and studies."""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.atna.batch import Batch
from dicom_node.atna.message import ActiveParticipant, ObjectKind, ParticipantObject
from dicom_node.config import NodeSettings

__all__ = [
    "DCM",
    "PATIENT_NUMBER",
    "node_participant",
    "patient_object",
    "peer_address",
    "person_participant",
    "study_objects",
]

DCM = codes.DCM

PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")
"""PS3.15 A.5.1.2.4: what a patient's ParticipantObjectID is."""

_NOBODY = "unknown"
"""PS3.15 A.5.2.5 asks for an identifier even where none was given."""


def node_participant(
    batch: Batch, *, role: Code | None = None, is_requestor: bool = False
) -> ActiveParticipant:
    """Return the node; not its process: what is sent again is the same message."""
    node = batch.node
    return ActiveParticipant(
        user_id=node.ae_title,
        alternative_user_id=f"AETITLES={node.ae_title}",
        is_requestor=is_requestor,
        role=role,
        address=node.host,
    )


def person_participant(
    name: str, *, address: str = "", role: Code | None = None
) -> ActiveParticipant:
    """Return a person, or a machine that acts for one, who asked for what was done."""
    return ActiveParticipant(
        user_id=name or "anonymous", is_requestor=True, role=role, address=address
    )


def peer_address(settings: NodeSettings, name: str) -> tuple[str, str]:
    """Return how a destination, archive or remote is called, and where it is."""
    for one in settings.destinations:
        if one.name == name:
            return one.ae_title or name, one.host or one.url or ""
    for archive in settings.archives:
        if archive.name == name:
            return archive.ae_title or name, archive.host or archive.url or ""
    for remote in settings.remotes:
        if remote.name == name:
            return remote.ae_title, remote.host
    return name, ""


def study_objects(batch: Batch) -> tuple[ParticipantObject, ...]:
    """Return the study that a batch is about and its patient; nothing without one."""
    study = batch.study
    if study is None:
        if not batch.patient_id:
            return ()
        return (patient_object(batch.patient_id),)
    return (
        ParticipantObject(
            id=study.study_instance_uid,
            kind=ObjectKind.REPORT,
            id_type=DCM.StudyInstanceUID,
            accession_number=study.accession_number,
            sop_classes=batch.sop_classes,
        ),
        patient_object(study.patient_id, study.patient_name),
    )


def patient_object(patient_id: str, name: str = "") -> ParticipantObject:
    """Return a patient."""
    return ParticipantObject(
        id=patient_id or _NOBODY,
        kind=ObjectKind.PATIENT,
        id_type=PATIENT_NUMBER,
        name=name,
    )
