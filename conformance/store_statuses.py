"""The DIMSE statuses of the node's Storage SCP, and what each tells the caller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = ["STORE_STATUSES", "DimseStatus", "Status", "StatusCategory"]


class StatusCategory(StrEnum):
    """What a status means for the requester, PS3.7 C."""

    SUCCESS = "Success"
    FAILURE = "Failure"
    REFUSED = "Refused"


class Status(IntEnum):
    """The DIMSE statuses that the node returns, PS3.4 B.2.3 and PS3.7 C."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class DimseStatus:
    """When a status is returned and what it tells the caller to do."""

    status: Status
    category: StatusCategory
    meaning: str
    condition: str


STORE_STATUSES: tuple[DimseStatus, ...] = (
    DimseStatus(
        Status.SUCCESS,
        StatusCategory.SUCCESS,
        "Success",
        "The instance is durable: its file and its folder are synced and its row is "
        "committed. Also for an instance that the node has already.",
    ),
    DimseStatus(
        Status.OUT_OF_RESOURCES,
        StatusCategory.REFUSED,
        "Out of resources",
        "Less disk is free than the operator reserves, a write failed, or the "
        "database does not answer. Send again later.",
    ),
    DimseStatus(
        Status.DATA_SET_MISMATCH,
        StatusCategory.FAILURE,
        "Data set does not match SOP class",
        "SOP Class UID or SOP Instance UID of the data set differs from the command.",
    ),
    DimseStatus(
        Status.CANNOT_UNDERSTAND,
        StatusCategory.FAILURE,
        "Cannot understand",
        "The data set cannot be parsed, nests sequences more than 64 deep, or one of "
        "its UIDs, or of the command's, is not a UID. Empty UIDs of SOP class and "
        "instance are taken from the command; empty UIDs of study and series are "
        "accepted.",
    ),
    DimseStatus(
        Status.PROCESSING_FAILURE,
        StatusCategory.FAILURE,
        "Processing failure",
        "An error of the node itself; its log names it.",
    ),
    DimseStatus(
        Status.SOP_CLASS_NOT_SUPPORTED,
        StatusCategory.FAILURE,
        "SOP class not supported",
        "The Affected SOP Class UID is not that of the presentation context.",
    ),
    DimseStatus(
        Status.MISTYPED_ARGUMENT,
        StatusCategory.FAILURE,
        "Mistyped argument",
        "The command announces no data set.",
    ),
    DimseStatus(
        Status.UNRECOGNIZED_OPERATION,
        StatusCategory.FAILURE,
        "Unrecognized operation",
        "The operation is not one of the context's service.",
    ),
)
"""Every status of the Storage SCP. All but success carry an Error Comment
(0000,0902), which never holds anything from the data set."""
