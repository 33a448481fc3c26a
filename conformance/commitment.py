"""Storage Commitment Push Model, PS3.4 J.3: identifiers, statuses and reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "COMMITMENT_REASONS",
    "COMMITMENT_REQUEST_STATUSES",
    "COMMITMENT_STATUSES",
    "REQUEST_ACTION_TYPE",
    "STORAGE_COMMITMENT_SOP_CLASS_UID",
    "STORAGE_COMMITMENT_SOP_INSTANCE_UID",
    "CommitmentReason",
    "CommitmentRequestStatus",
    "CommitmentStatus",
    "EventType",
    "FailureReason",
    "NormalizedStatus",
    "judge_commitment_request",
]

STORAGE_COMMITMENT_SOP_CLASS_UID = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class, PS3.4 J.3."""

STORAGE_COMMITMENT_SOP_INSTANCE_UID = "1.2.840.10008.1.20.1.1"
"""Its one, well-known instance."""

REQUEST_ACTION_TYPE = 1
"""Request Storage Commitment, PS3.4 Table J.3-1."""


class EventType(IntEnum):
    """What an N-EVENT-REPORT tells, PS3.4 Table J.3-2."""

    SUCCESSFUL = 1
    FAILURES_EXIST = 2


class NormalizedStatus(IntEnum):
    """What the node answers to N-ACTION and N-EVENT-REPORT, PS3.7 10.1."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION_TYPE = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213


class FailureReason(IntEnum):
    """Why an instance is not committed to, (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True)
class CommitmentStatus:
    """When a status is returned."""

    status: NormalizedStatus
    meaning: str
    condition: str


COMMITMENT_STATUSES: tuple[CommitmentStatus, ...] = (
    CommitmentStatus(
        NormalizedStatus.SUCCESS,
        "Success",
        "N-ACTION: the request is durable. N-EVENT-REPORT: what it tells is durable.",
    ),
    CommitmentStatus(
        NormalizedStatus.PROCESSING_FAILURE,
        "Processing failure",
        "The database does not answer. Send again later.",
    ),
    CommitmentStatus(
        NormalizedStatus.NO_SUCH_SOP_INSTANCE,
        "No such SOP instance",
        "It is not the well-known instance.",
    ),
    CommitmentStatus(
        NormalizedStatus.NO_SUCH_EVENT_TYPE,
        "No such event type",
        "The event type is neither 1 nor 2.",
    ),
    CommitmentStatus(
        NormalizedStatus.INVALID_ARGUMENT_VALUE,
        "Invalid argument value",
        "N-ACTION: no Transaction UID, no reference, or the Transaction UID was used "
        "for other instances. N-EVENT-REPORT: the node asked this peer for nothing "
        "with this Transaction UID.",
    ),
    CommitmentStatus(
        NormalizedStatus.SOP_CLASS_NOT_SUPPORTED,
        "SOP class not supported",
        "The SOP Class UID is not that of the presentation context.",
    ),
    CommitmentStatus(
        NormalizedStatus.NO_SUCH_ACTION_TYPE,
        "No such action type",
        "The action type is not 1.",
    ),
    CommitmentStatus(
        NormalizedStatus.UNRECOGNIZED_OPERATION,
        "Unrecognized operation",
        "The operation is neither N-ACTION nor N-EVENT-REPORT, or not one of the "
        "role that was negotiated.",
    ),
    CommitmentStatus(
        NormalizedStatus.MISTYPED_ARGUMENT,
        "Mistyped argument",
        "There is no data set, or it cannot be parsed.",
    ),
    CommitmentStatus(
        NormalizedStatus.RESOURCE_LIMITATION,
        "Resource limitation",
        "The data set is larger than 16 MiB.",
    ),
)
"""Every status that the node answers in a Storage Commitment context."""


@dataclass(frozen=True, slots=True)
class CommitmentReason:
    """When the node does not commit to an instance."""

    reason: FailureReason
    meaning: str
    condition: str


COMMITMENT_REASONS: tuple[CommitmentReason, ...] = (
    CommitmentReason(
        FailureReason.PROCESSING_FAILURE,
        "Processing failure",
        "Its file is gone, or its bytes are not those that were received.",
    ),
    CommitmentReason(
        FailureReason.NO_SUCH_OBJECT_INSTANCE,
        "No such object instance",
        "It was never received.",
    ),
    CommitmentReason(
        FailureReason.CLASS_INSTANCE_CONFLICT,
        "Class / instance conflict",
        "It was received with another SOP Class UID.",
    ),
)
"""Failure Reasons of the node's reports. An instance that is not named there is
committed: its bytes were read back from the disk and have the hash they came with."""


@dataclass(frozen=True, slots=True)
class CommitmentRequestStatus:
    """What the node makes of a destination's answer to N-ACTION.

    ``is_offered``: the destination offers the service; otherwise C-STORE counts as
    delivery where the setting is ``auto``.
    """

    codes: str
    behaviour: str
    is_asked: bool
    is_offered: bool
    note: str


COMMITMENT_REQUEST_STATUSES: tuple[CommitmentRequestStatus, ...] = (
    CommitmentRequestStatus("0000", "its report is waited for", True, True, ""),
    CommitmentRequestStatus(
        "0122, 0211",
        "auto: delivered by C-STORE; required: asked again later, growing delay",
        False,
        False,
        "it does not know storage commitment",
    ),
    CommitmentRequestStatus(
        "any other",
        "asked again later, growing delay",
        False,
        True,
        "it refuses to be asked for commitment",
    ),
    CommitmentRequestStatus(
        "abort",
        "asked again later, growing delay",
        False,
        True,
        "it aborts when it is asked for commitment",
    ),
    CommitmentRequestStatus(
        "none", "asked again later, growing delay", False, True, "it did not answer"
    ),
)
"""By status of N-ACTION. What is asked again and again is given up after seven days."""


def judge_commitment_request(
    status: int | None, *, is_aborted: bool = False
) -> CommitmentRequestStatus:
    """Return the row about an answer to N-ACTION; None: there was no answer."""
    success, unknown, refused, aborted, silent = COMMITMENT_REQUEST_STATUSES
    if status is None:
        return aborted if is_aborted else silent
    if status in {
        NormalizedStatus.SOP_CLASS_NOT_SUPPORTED,
        NormalizedStatus.UNRECOGNIZED_OPERATION,
    }:
        return unknown
    return success if status == 0 else refused
