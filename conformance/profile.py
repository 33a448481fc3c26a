"""What the node speaks over DICOM: the single truth.

The application entity is built from these tables, the conformance statement is
rendered from them, and a test proposes every context to a running node and compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from conformance.commitment import STORAGE_COMMITMENT_SOP_CLASS_UID
from conformance.send_statuses import (
    SEND_STATUSES,
    SendStatus,
    judge_send_status,
)
from conformance.sop_classes import RETIRED_STORAGE_CLASSES, STORAGE_CLASSES
from conformance.store_statuses import (
    STORE_STATUSES,
    DimseStatus,
    Status,
    StatusCategory,
)
from conformance.transfer_syntaxes import TRANSFER_SYNTAXES, TransferSyntax

__all__ = [
    "ASSOCIATION_LIMITS",
    "COMPRESSED_RESULT_SOP_CLASSES",
    "COMPRESSED_RESULT_TRANSFER_SYNTAXES",
    "DICOM_APPLICATION_CONTEXT",
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "QUERY_RETRIEVE_CONTEXTS",
    "REJECTIONS",
    "RESULT_SOP_CLASSES",
    "RESULT_TRANSFER_SYNTAXES",
    "SCP_CONTEXTS",
    "SCU_CONTEXTS",
    "SEND_STATUSES",
    "STORE_STATUSES",
    "STUDY_ROOT_FIND",
    "STUDY_ROOT_GET",
    "STUDY_ROOT_MOVE",
    "TRANSFER_SYNTAXES",
    "VERIFICATION_SOP_CLASS_UID",
    "AssociationLimits",
    "ContextResult",
    "DimseStatus",
    "PresentationContexts",
    "Rejection",
    "Role",
    "SendStatus",
    "Status",
    "StatusCategory",
    "TransferSyntax",
    "choose_transfer_syntax",
    "judge_send_status",
]

IMPLEMENTATION_CLASS_UID = "2.25.335196843860693809136658796970976262783"
"""Names this implementation in every association and file, PS3.7 D.3.3.2."""

IMPLEMENTATION_VERSION_NAME = "DICOM-GROUND-0.1"
"""At most 16 characters, PS3.7 D.3.3.2."""

DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The only application context name, PS3.7 A.2.1."""

VERIFICATION_SOP_CLASS_UID = "1.2.840.10008.1.1"
"""PS3.4 A."""


class Role(StrEnum):
    """Who invokes the operations of a context, PS3.7 5."""

    SCU = "SCU"
    SCP = "SCP"


class ContextResult(IntEnum):
    """Answer to one proposed presentation context, PS3.8 Table 9-18."""

    ACCEPTANCE = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


RESULT_SOP_CLASSES: Mapping[str, str] = {
    uid: STORAGE_CLASSES[uid]
    for uid in (
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.11.2",  # Color Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image
        "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
    )
}
"""What the node makes and sends."""

RESULT_TRANSFER_SYNTAXES: tuple[str, ...] = ("1.2.840.10008.1.2.1",)
"""How results are encoded: Explicit VR Little Endian."""

COMPRESSED_RESULT_SOP_CLASSES: Mapping[str, str] = {
    uid: STORAGE_CLASSES[uid]
    for uid in (
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation, FRACTIONAL
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    )
}
"""What the profiles `labelmap` and `fractional` make, and how it is encoded: below."""

COMPRESSED_RESULT_TRANSFER_SYNTAXES: tuple[str, ...] = ("1.2.840.10008.1.2.5",)
"""RLE Lossless. A destination that refuses it is told so by name: nothing is
decompressed on the way."""


@dataclass(frozen=True, slots=True)
class PresentationContexts:
    """SOP classes that share a role and their transfer syntaxes, PS3.8 9.3.2.2."""

    service: str
    role: Role
    sop_classes: Mapping[str, str]
    transfer_syntaxes: tuple[str, ...]


_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_VERIFICATION = {VERIFICATION_SOP_CLASS_UID: "Verification"}
_COMMITMENT = {STORAGE_COMMITMENT_SOP_CLASS_UID: "Storage Commitment Push Model"}

SCP_CONTEXTS: tuple[PresentationContexts, ...] = (
    PresentationContexts("Verification", Role.SCP, _VERIFICATION, _UNCOMPRESSED),
    PresentationContexts(
        "Storage",
        Role.SCP,
        {**STORAGE_CLASSES, **RETIRED_STORAGE_CLASSES},
        tuple(syntax.uid for syntax in TRANSFER_SYNTAXES),
    ),
    PresentationContexts(
        "Storage Commitment", Role.SCP, _COMMITMENT, _UNCOMPRESSED[:2]
    ),
)
"""What the node accepts when it is called. A caller that selects the SCP role for
storage commitment reports on what the node asked it for (PS3.7 D.3.3.4)."""

SCU_CONTEXTS: tuple[PresentationContexts, ...] = (
    PresentationContexts("Verification", Role.SCU, _VERIFICATION, _UNCOMPRESSED[:2]),
    PresentationContexts(
        "Storage", Role.SCU, RESULT_SOP_CLASSES, RESULT_TRANSFER_SYNTAXES
    ),
    PresentationContexts(
        "Storage, compressed",
        Role.SCU,
        COMPRESSED_RESULT_SOP_CLASSES,
        COMPRESSED_RESULT_TRANSFER_SYNTAXES,
    ),
    PresentationContexts(
        "Storage Commitment", Role.SCU, _COMMITMENT, _UNCOMPRESSED[:2]
    ),
    PresentationContexts(
        "Storage Commitment", Role.SCP, _COMMITMENT, _UNCOMPRESSED[:2]
    ),
)
"""What the node proposes when it calls a destination: of these, what it sends."""


STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND, PS3.4 C.6.2."""

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

QUERY_RETRIEVE_CONTEXTS: tuple[PresentationContexts, ...] = (
    PresentationContexts(
        "Query/Retrieve",
        Role.SCU,
        {
            STUDY_ROOT_FIND: "Study Root Query/Retrieve - FIND",
            STUDY_ROOT_MOVE: "Study Root Query/Retrieve - MOVE",
            STUDY_ROOT_GET: "Study Root Query/Retrieve - GET",
        },
        _UNCOMPRESSED[:2],
    ),
    PresentationContexts(
        "Storage by C-GET",
        Role.SCP,
        {**STORAGE_CLASSES, **RETIRED_STORAGE_CLASSES},
        tuple(syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.is_decoded),
    ),
)
"""What the node proposes when it calls an archive: the service that is configured
and, for C-GET, the announced SOP classes in the SCP role (PS3.7 D.3.3.4), each syntax
in a context of its own, so that the archive need not decode what it keeps."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int
    meaning: str
    condition: str


REJECTIONS: Mapping[str, Rejection] = {
    "calling": Rejection(
        1,
        1,
        3,
        "calling AE title not recognized",
        "No caller with this AE title and address is configured; where none is "
        "configured at all, the connection does not come from this machine.",
    ),
    "called": Rejection(
        1,
        1,
        7,
        "called AE title not recognized",
        "The called AE title is not the node's.",
    ),
    "application_context": Rejection(
        1,
        1,
        2,
        "application context name not supported",
        f"It is not {DICOM_APPLICATION_CONTEXT}.",
    ),
    "protocol_version": Rejection(
        1, 2, 2, "protocol version not supported", "Bit 0 of the version is not set."
    ),
    "limit": Rejection(
        2,
        3,
        2,
        "local limit exceeded",
        "As many associations are open as the operator allows, or the node is "
        "stopping. Try again.",
    ),
}
"""Why an association is refused. Result 1 is permanent, 2 transient."""


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """What an A-ASSOCIATE-RQ and a command set may hold; beyond it: A-ABORT."""

    associate_bytes: int = 1 << 20
    """PDU length of A-ASSOCIATE-RQ."""
    contexts: int = 128
    """Presentation contexts, with distinct odd ids (PS3.8 9.3.2.2)."""
    transfer_syntaxes: int = 64
    """Transfer syntaxes of one context."""
    command_bytes: int = 64 << 10
    """Length of a command set."""
    normalized_bytes: int = 16 << 20
    """Length of the data set of N-ACTION or N-EVENT-REPORT; beyond it: 0x0213."""
    nesting: int = 64
    """Sequences inside each other, in a data set."""


ASSOCIATION_LIMITS = AssociationLimits()
"""Limits that no setting moves; the other limits are in the settings."""

_DECODED = frozenset(one.uid for one in TRANSFER_SYNTAXES if one.is_decoded)
_ACCEPTED: Mapping[str, frozenset[str]] = {
    uid: frozenset(row.transfer_syntaxes)
    for row in SCP_CONTEXTS
    for uid in row.sop_classes
}


def choose_transfer_syntax(
    abstract_syntax: str, proposed: Sequence[str]
) -> tuple[ContextResult, str | None]:
    """Answer a proposed presentation context.

    Parameters
    ----------
    abstract_syntax : str
        SOP Class UID.
    proposed : sequence of str
        Transfer syntaxes in the caller's order.

    Returns
    -------
    tuple of ContextResult, str or None
        The first proposed syntax that the node can decode, else the first that it
        keeps, else why not.

    """
    accepted = _ACCEPTED.get(abstract_syntax)
    if accepted is None:
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, None
    usable = [uid for uid in proposed if uid in accepted]
    if not usable:
        return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, None
    best = next((uid for uid in usable if uid in _DECODED), usable[0])
    return ContextResult.ACCEPTANCE, best
