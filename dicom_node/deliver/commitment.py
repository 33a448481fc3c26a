"""Ask a destination to commit to what it has stored: N-ACTION, PS3.4 J.3.2."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pynetdicom import evt
from pynetdicom.presentation import PresentationContext, build_context

from conformance.commitment import (
    REQUEST_ACTION_TYPE,
    STORAGE_COMMITMENT_SOP_CLASS_UID,
    STORAGE_COMMITMENT_SOP_INSTANCE_UID,
    NormalizedStatus,
    judge_commitment_request,
)
from conformance.profile import SCU_CONTEXTS
from dicom_node.commitment_messages import (
    CommitmentReport,
    CommitmentRequest,
    SopReference,
    read_report,
    request_data_set,
)
from dicom_node.config import DicomPeer
from dicom_node.errors import AssociationRefusedError, CannotUnderstandError
from dicom_node.scu import NO_CONTEXT_ACCEPTED, Timeouts, associate

__all__ = ["CommitmentAsked", "ask_for_commitment"]

_REPORT_WAIT_S = 1.0
"""How long the association stays open for a report. Most peers that report on it do
so at once, the others call back."""


@dataclass(frozen=True, slots=True)
class CommitmentAsked:
    """What came of asking; ``reason`` is empty where the peer was asked.

    ``refusal`` is the reason of a peer that accepts the service and then cannot be
    asked: worth a note, where one that does not offer it is not.
    """

    is_asked: bool
    is_offered: bool
    """False: the destination does not offer the service."""
    reason: str
    refusal: str = ""


def ask_for_commitment(
    references: Sequence[tuple[str, str]],
    peer: DicomPeer,
    *,
    ae_title: str,
    transaction_uid: str,
    on_report: Callable[[CommitmentReport], bool],
    is_answered: threading.Event,
    timeouts: Timeouts | None = None,
) -> CommitmentAsked:
    """Ask a destination to commit to instances.

    Parameters
    ----------
    references : sequence of tuple
        SOP Class UID and SOP Instance UID of each.
    peer : DicomPeer
        Whom to ask.
    ae_title : str
        Calling AE title.
    transaction_uid : str
        Names the request.
    on_report : callable
        Told the report if it comes on this association; returns whether it is known.
    is_answered : threading.Event
        Set when the report came, here or elsewhere: the association then ends.
    timeouts : Timeouts, optional
        How long the destination may take.

    """

    def take(event: evt.Event) -> tuple[int, None]:
        try:
            is_known = on_report(read_report(event.event_information))
        except CannotUnderstandError:
            return NormalizedStatus.MISTYPED_ARGUMENT, None
        except Exception:  # noqa: BLE001 - the peer must be answered
            return NormalizedStatus.PROCESSING_FAILURE, None
        if not is_known:
            return NormalizedStatus.INVALID_ARGUMENT_VALUE, None
        return NormalizedStatus.SUCCESS, None

    request = CommitmentRequest(
        transaction_uid, tuple(SopReference(*one) for one in references)
    )
    try:
        with associate(
            [_context()],
            peer,
            ae_title=ae_title,
            timeouts=timeouts or Timeouts(),
            on_report=take,
        ) as link:
            try:
                status = link.association.send_n_action(
                    request_data_set(request),
                    REQUEST_ACTION_TYPE,
                    STORAGE_COMMITMENT_SOP_CLASS_UID,
                    STORAGE_COMMITMENT_SOP_INSTANCE_UID,
                )[0].get("Status")
            except (AttributeError, RuntimeError, ValueError):
                status = None
            row = judge_commitment_request(status, is_aborted=link.was_aborted.is_set())
            if row.is_asked and not link.is_closed.is_set():
                is_answered.wait(_REPORT_WAIT_S)
    except AssociationRefusedError as error:
        is_offered = str(error) != NO_CONTEXT_ACCEPTED
        reason = str(error) if is_offered else "it does not offer storage commitment"
        return CommitmentAsked(False, is_offered, reason)
    note = f"{row.note} (0x{status:04X})" if status else row.note
    return CommitmentAsked(row.is_asked, row.is_offered, note, refusal=note)


def _context() -> PresentationContext:
    row = next(
        one
        for one in SCU_CONTEXTS
        if STORAGE_COMMITMENT_SOP_CLASS_UID in one.sop_classes
    )
    return build_context(STORAGE_COMMITMENT_SOP_CLASS_UID, list(row.transfer_syntaxes))
