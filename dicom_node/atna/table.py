"""Which event becomes which audit message: one table, PS3.15 A.5.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_node.atna import access, changes, transfers
from dicom_node.atna.batch import Batch
from dicom_node.atna.message import AuditMessage
from dicom_node.audit import EventKind

__all__ = ["MESSAGES", "Audited", "NotAudited"]


@dataclass(frozen=True, slots=True)
class Audited:
    """Events of this kind become messages."""

    make: Callable[[Batch], AuditMessage]
    gathers: tuple[str, ...] | None = field(default=None)
    """Details: events of one study that agree in them within a short time are one
    message. None: each event is a message of its own."""


@dataclass(frozen=True, slots=True)
class NotAudited:
    """Events of this kind are no messages."""

    why: str


_SENDER = ("calling_ae_title", "peer_address")
_RECEIVER = ("destination",)
_COMMITTED = (*_RECEIVER, "is_committed")

_NO_ACCESS = NotAudited("the node's own work: nobody sees, sends or changes a study")
_NO_MESSAGE = NotAudited("PS3.15 A.5.3 has no message for storage commitment")
_WORKLIST = NotAudited("work that is planned: what is done with a study is told then")

MESSAGES: Mapping[EventKind, Audited | NotAudited] = MappingProxyType(
    {
        EventKind.NODE_STARTED: Audited(changes.application_start),
        EventKind.NODE_STOPPED: Audited(changes.application_stop),
        EventKind.INSTANCE_RECEIVED: Audited(transfers.received, _SENDER),
        EventKind.INSTANCE_REPEATED: Audited(transfers.repeated, _SENDER),
        EventKind.INSTANCE_CONFLICT: Audited(transfers.conflicting, _SENDER),
        EventKind.INSTANCE_REINDEXED: _NO_ACCESS,
        EventKind.FILE_MISSING: _NO_ACCESS,
        EventKind.FILE_QUARANTINED: _NO_ACCESS,
        EventKind.FILES_RECONCILED: _NO_ACCESS,
        EventKind.STUDY_COMPLETE: _NO_ACCESS,
        EventKind.STUDY_REQUEUED: _NO_ACCESS,
        EventKind.STUDY_PROCESSED: Audited(access.results_made),
        EventKind.STUDY_FAILED: _NO_ACCESS,
        EventKind.STUDY_IGNORED: _NO_ACCESS,
        EventKind.STUDY_SUPERSEDED: _NO_ACCESS,
        EventKind.STUDY_REMOVED: Audited(access.study_removed),
        EventKind.REPORT_RECEIVED: Audited(transfers.report_imported),
        EventKind.REPORT_JOINED: _NO_ACCESS,
        EventKind.REPORT_HELD_BACK: _NO_ACCESS,
        EventKind.REPORT_FORGOTTEN: NotAudited(
            "PS3.15 A.5.3 has a message for deleted studies alone, and it has none"
        ),
        EventKind.STUDY_RETRIEVED: Audited(access.archive_asked),
        EventKind.RETRIEVE_FAILED: Audited(access.archive_failed),
        EventKind.DELIVERY_BEGUN: Audited(transfers.delivery_begun),
        EventKind.RESULT_STORED: Audited(transfers.sent, _RECEIVER),
        EventKind.RESULT_DELIVERED: Audited(transfers.delivered, _COMMITTED),
        EventKind.DELIVERY_FAILED: Audited(transfers.not_sent, _RECEIVER),
        EventKind.DELIVERY_DEAD: Audited(transfers.given_up, _RECEIVER),
        EventKind.STUDY_EXPORTED: Audited(transfers.sent),
        EventKind.REMOTE_RESULT_RECEIVED: Audited(transfers.received, _SENDER),
        EventKind.REMOTE_ANSWERED: _NO_ACCESS,
        EventKind.REMOTE_FAILED: _NO_ACCESS,
        EventKind.WORKITEM_CLAIMED: _WORKLIST,
        EventKind.WORKITEM_ENDED: _WORKLIST,
        EventKind.COMMITMENT_REQUESTED: _NO_MESSAGE,
        EventKind.COMMITMENT_REPORTED: _NO_MESSAGE,
        EventKind.COMMITMENT_REPORT_DEAD: _NO_MESSAGE,
        EventKind.SWITCH_CHANGED: Audited(changes.switch_changed),
        EventKind.USER_CHANGED: Audited(changes.user_changed),
        EventKind.SIGNED_IN: Audited(changes.signed_in),
        EventKind.SIGN_IN_REFUSED: Audited(changes.sign_in_refused),
        EventKind.SIGNED_OUT: Audited(changes.signed_out),
        EventKind.STUDY_VIEWED: Audited(access.study_viewed),
        EventKind.STUDIES_SEARCHED: Audited(access.studies_searched),
        EventKind.REGION_CORRECTED: Audited(access.region_corrected),
        EventKind.REPORT_VERIFIED: Audited(access.report_verified),
        EventKind.ASSOCIATION_REFUSED: Audited(changes.association_refused),
        EventKind.TLS_FAILED: Audited(changes.tls_failed),
        EventKind.CERTIFICATE_EXPIRES: Audited(changes.certificate_expires),
    }
)
"""Every kind of event: what it becomes, or why it becomes nothing."""
