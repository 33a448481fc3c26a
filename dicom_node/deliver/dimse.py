"""Send objects by C-STORE: propose exactly what is sent, ask for every answer.

Files go out byte for byte as they lie on disk, compressed ones compressed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pydicom.uid
from pydantic import ValidationError
from pynetdicom.presentation import build_context

from conformance.profile import (
    SCU_CONTEXTS,
    VERIFICATION_SOP_CLASS_UID,
    judge_send_status,
)
from dicom_node.config import DestinationSettings, DicomPeer
from dicom_node.deliver.records import (
    OnOutcome,
    Sendable,
    SendOutcome,
    failed,
    read_sendable,
)
from dicom_node.errors import (
    AssociationRefusedError,
    CannotUnderstandError,
    StoreRefusedError,
)
from dicom_node.records import ResultObject
from dicom_node.scu import NO_CONTEXT_ACCEPTED, Link, Timeouts, associate

__all__ = ["echo", "parse_destination", "send_objects"]

_MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255


def parse_destination(text: str) -> DicomPeer:
    """Read ``AET@HOST:PORT``; an IPv6 address stands in brackets.

    Raises
    ------
    ValueError
        It is not written like that.

    """
    found = re.fullmatch(r"(.+)@(\[[^\]]+\]|[^:\[\]]+):([0-9]{1,5})", text)
    if found is None:
        msg = f"{text}: a destination is written AET@HOST:PORT"
        raise ValueError(msg)
    ae_title, host, port = found.groups()
    try:
        return DestinationSettings(
            name="destination", ae_title=ae_title, host=host.strip("[]"), port=int(port)
        ).peer
    except ValidationError as error:
        msg = f"{text}: {error.errors()[0]['msg']}"
        raise ValueError(msg) from error


def send_objects(
    objects: Iterable[Path | ResultObject | Sendable],
    peer: DicomPeer,
    *,
    ae_title: str,
    timeouts: Timeouts | None = None,
    on_outcome: OnOutcome | None = None,
) -> tuple[SendOutcome, ...]:
    """Send files to one destination.

    Parameters
    ----------
    objects : iterable of pathlib.Path, ResultObject or Sendable
        What to send.
    peer : DicomPeer
        Where to.
    ae_title : str
        Calling AE title.
    timeouts : Timeouts, optional
        How long the destination may take.
    on_outcome : callable, optional
        Told each outcome when it is known, before the next file is sent.

    Returns
    -------
    tuple of SendOutcome
        One per file, in their order. Whatever goes wrong on the way is an outcome.

    """
    wanted = list(objects)
    outcomes: dict[int, SendOutcome] = {}

    def note(index: int, outcome: SendOutcome) -> None:
        outcomes[index] = outcome
        if on_outcome is not None:
            on_outcome(outcome)

    readable: list[tuple[int, Sendable]] = []
    for index, one in enumerate(wanted):
        try:
            readable.append((index, _sendable(one)))
        except CannotUnderstandError as error:
            path = one if isinstance(one, Path) else one.path
            note(index, SendOutcome(path, "", False, None, str(error)))
    for group in _fill_associations(readable):
        for index, outcome in _send_group(
            group, peer, ae_title=ae_title, timeouts=timeouts or Timeouts()
        ):
            note(index, outcome)
    return tuple(outcomes[index] for index in range(len(wanted)))


def echo(
    peer: DicomPeer,
    *,
    ae_title: str,
    timeouts: Timeouts | None = None,
) -> None:
    """Ask a destination for a sign of life by C-ECHO.

    Raises
    ------
    AssociationRefusedError
        It cannot be reached, or does not accept the association or Verification.
    StoreRefusedError
        It answered with another status than success.

    """
    syntaxes = next(
        one.transfer_syntaxes
        for one in SCU_CONTEXTS
        if VERIFICATION_SOP_CLASS_UID in one.sop_classes
    )
    context = build_context(VERIFICATION_SOP_CLASS_UID, list(syntaxes))
    with associate(
        [context], peer, ae_title=ae_title, timeouts=timeouts or Timeouts()
    ) as link:
        status = link.association.send_c_echo().get("Status")
    if status is None:
        raise AssociationRefusedError("it did not answer C-ECHO")
    if status != 0:
        msg = f"it answered C-ECHO with 0x{status:04X}"
        raise StoreRefusedError(msg, status=status)


def _sendable(one: Path | ResultObject | Sendable) -> Sendable:
    if isinstance(one, Sendable):
        return one
    if isinstance(one, Path):
        return read_sendable(one)
    return Sendable(
        path=one.path,
        sop_class_uid=one.reference.sop_class_uid,
        sop_instance_uid=one.reference.sop_instance_uid,
        transfer_syntax_uid=one.transfer_syntax_uid,
    )


def _fill_associations(
    items: Sequence[tuple[int, Sendable]],
) -> Iterator[list[tuple[int, Sendable]]]:
    """Split into associations that propose at most 128 contexts."""
    group: list[tuple[int, Sendable]] = []
    pairs: set[tuple[str, str]] = set()
    for index, one in items:
        pair = (one.sop_class_uid, one.transfer_syntax_uid)
        if pair not in pairs and len(pairs) == _MAX_CONTEXTS:
            yield group
            group, pairs = [], set()
        pairs.add(pair)
        group.append((index, one))
    if group:
        yield group


def _send_group(
    group: Sequence[tuple[int, Sendable]],
    peer: DicomPeer,
    *,
    ae_title: str,
    timeouts: Timeouts,
) -> Iterator[tuple[int, SendOutcome]]:
    pairs = dict.fromkeys(
        (one.sop_class_uid, one.transfer_syntax_uid) for _, one in group
    )
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    try:
        with associate(contexts, peer, ae_title=ae_title, timeouts=timeouts) as link:
            accepted = {
                (str(one.abstract_syntax), str(one.transfer_syntax[0]))
                for one in link.association.accepted_contexts
            }
            for number, (index, one) in enumerate(group):
                yield index, _send_one(link, one, accepted, number=number)
    except AssociationRefusedError as error:
        is_refused = str(error) == NO_CONTEXT_ACCEPTED
        for index, one in group:
            yield index, failed(one, str(error), is_refused=is_refused)


def _send_one(
    link: Link,
    one: Sendable,
    accepted: set[tuple[str, str]],
    *,
    number: int,
) -> SendOutcome:
    if (one.sop_class_uid, one.transfer_syntax_uid) not in accepted:
        return failed(
            one,
            f"it does not accept {_name(one.sop_class_uid)} "
            f"as {_name(one.transfer_syntax_uid)}",
            is_refused=True,
        )
    if link.is_closed.is_set() or not link.association.is_established:
        return failed(one, "the association ended before it was sent")
    try:
        # PS3.7 9.1.1.1.1: Message ID distinguishes outstanding requests, 16 bits.
        answer = link.association.send_c_store(one.path, msg_id=number % 65_535 + 1)
    except OSError:
        return failed(one, "the file cannot be read")
    except (AttributeError, RuntimeError, ValueError):
        return failed(one, "the association ended while it was sent")
    status = answer.get("Status")
    row = judge_send_status(status)
    note = row.note
    if status is not None and not row.is_delivered:
        note = f"{note} (0x{status:04X})"
    return SendOutcome(
        one.path,
        one.sop_instance_uid,
        row.is_delivered,
        status,
        note,
        is_refused=row.is_refusal,
    )


def _name(uid: str) -> str:
    return str(pydicom.uid.UID(uid).name)
