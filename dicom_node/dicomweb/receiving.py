"""STOW-RS: instances out of a multipart body, each durable before it counts.

Every part goes the way of a C-STORE: streamed into the spool, recorded, and only
then named as stored (PS3.18 10.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from conformance.profile import SCP_CONTEXTS, TRANSFER_SYNTAXES, Status
from dicom_node.data_set import Tag, scan_data_set
from dicom_node.dicomweb.media import DICOM, MediaRange, parse_media_type
from dicom_node.dicomweb.model import Json, describe
from dicom_node.dicomweb.multipart import (
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    PartEvent,
)
from dicom_node.errors import DatasetMismatchError, DicomwebError, NodeError
from dicom_node.header import InstanceHeader, is_uid
from dicom_node.receive import InstanceReceiver, Reception, StoreRequest
from dicom_node.store import InstanceOutcome

__all__ = ["StowOutcome", "StowRequest", "read_content_type", "receive_instances"]

_MAX_META_BYTES = 1 << 16
"""File meta information is some hundred bytes; it is held until it is whole."""

_SYNTAX_NOT_SUPPORTED = 0xC122
"""PS3.18 Table I.2-2: the transfer syntax of an instance is not supported."""

_DUPLICATE_INSTANCE = 0x0111
"""Duplicate SOP instance: there is one of that UID with other content. The warnings
of PS3.18 I.2 are for instances that can be had under their UID, coerced or not."""

_ACCEPTED_CLASSES = frozenset(
    uid
    for context in SCP_CONTEXTS
    if context.service == "Storage"
    for uid in context.sop_classes
)
_ACCEPTED_SYNTAXES = frozenset(one.uid for one in TRANSFER_SYNTAXES)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StowRequest:
    """Who stores what."""

    boundary: str
    sender: str
    """At most 16 characters: it stands where an AE title would."""
    peer_address: str
    study_instance_uid: str | None = None
    """Where the address names a study, instances of another one are refused."""
    root: str = ""
    """The service's address."""


@dataclass(slots=True)
class StowOutcome:
    """What became of the parts."""

    stored: list[InstanceHeader] = field(default_factory=list)
    failed: list[tuple[str, str, int]] = field(default_factory=list)
    """SOP class and instance UID, which may be empty, and the failure reason."""

    @property
    def status(self) -> int:
        """200: all stored; 202: some; 409: none (PS3.18 Table 10.5.3-1)."""
        if not self.failed:
            return 200
        return 202 if self.stored else 409

    def to_json(self, request: StowRequest) -> Json:
        """Return the Store Instances Response Module, PS3.18 I.2."""
        uids = {one.study_instance_uid for one in self.stored}
        study = request.study_instance_uid or (uids.pop() if len(uids) == 1 else None)
        found = describe(
            {"RetrieveURL": f"{request.root}/studies/{study}" if study else None}
        )
        named = [one for one in self.failed if one[0] and one[1]]
        others = [one for one in self.failed if not (one[0] and one[1])]
        if named:
            found |= _sequence(
                "00081198",
                [
                    {**_reference(class_uid, uid), **_reason(reason)}
                    for class_uid, uid, reason in named
                ],
            )
        if others:
            found |= _sequence("0008119A", [_reason(one[2]) for one in others])
        if self.stored:
            found |= _sequence(
                "00081199", [_stored(one, request.root) for one in self.stored]
            )
        return dict(sorted(found.items()))


def read_content_type(text: str) -> str:
    """Return the boundary of a body that holds DICOM files.

    Raises
    ------
    DicomwebError
        It is of another kind (``status`` 415), or has no boundary.

    """
    try:
        found: MediaRange = parse_media_type(text)
    except DicomwebError as error:
        raise DicomwebError("the body's type is not told", status=415) from error
    kind = found.parameters.get("type", DICOM).lower()
    if not found.is_multipart or kind != DICOM:
        msg = 'bodies are taken as multipart/related; type="application/dicom"'
        raise DicomwebError(msg, status=415)
    return found.parameters.get("boundary", "")


def receive_instances(
    blocks: Iterable[bytes],
    request: StowRequest,
    *,
    make_receiver: Callable[[Callable[[InstanceHeader], None]], InstanceReceiver],
    max_instance_bytes: int,
) -> StowOutcome:
    """Receive every instance of a body.

    Parameters
    ----------
    blocks : iterable of bytes
        The body as it comes.
    request : StowRequest
        Who and where to.
    make_receiver : callable
        Makes a receiver that asks its argument whether an instance is welcome.
    max_instance_bytes : int
        A longer part is refused, the others are not.

    Raises
    ------
    DicomwebError
        The body cannot be read, and no instance came whole before. Where one did, it
        is kept, and the answer lists it, and what broke as a failure.

    """
    outcome = StowOutcome()
    receiver = make_receiver(_study_check(request.study_instance_uid))
    part: _PartReceiver | None = None
    reader = MultipartReader(request.boundary)
    try:
        for block in blocks:
            for event in reader.feed(block):
                part = _take(
                    event, part, receiver, request, outcome, max_instance_bytes
                )
        reader.finish()
    except DicomwebError as error:
        if not outcome.stored:
            raise
        reason = (
            Status.OUT_OF_RESOURCES if error.status == 413 else Status.CANNOT_UNDERSTAND
        )
        outcome.failed.append((*(part.uids if part else ("", "")), reason))
    finally:
        if part is not None:
            part.abandon()
        log.info(
            "stow_request",
            stored=len(outcome.stored),
            failed=len(outcome.failed),
        )
    if not (outcome.stored or outcome.failed):
        raise DicomwebError("the body holds no instance", status=400)
    return outcome


def _take(
    event: PartEvent,
    part: _PartReceiver | None,
    receiver: InstanceReceiver,
    request: StowRequest,
    outcome: StowOutcome,
    max_instance_bytes: int,
) -> _PartReceiver | None:
    if isinstance(event, PartBegin):
        return _PartReceiver(
            receiver, request, event.headers.get("content-type"), max_instance_bytes
        )
    if part is None:
        return None
    if isinstance(event, PartData):
        part.write(event.data)
        return part
    assert isinstance(event, PartEnd)  # noqa: S101 - there is no other event
    part.finish(outcome)
    return None


def _study_check(study_instance_uid: str | None) -> Callable[[InstanceHeader], None]:
    def check(header: InstanceHeader) -> None:
        if study_instance_uid not in {None, header.study_instance_uid}:
            raise DatasetMismatchError("the instance is of another study")

    return check


class _PartReceiver:
    """One part: its file meta information first, then the data set, streamed."""

    def __init__(
        self,
        receiver: InstanceReceiver,
        request: StowRequest,
        content_type: str | None,
        max_instance_bytes: int,
    ) -> None:
        self._receiver = receiver
        self._request = request
        self._left = max_instance_bytes
        self._head = b""
        self.uids = ("", "")
        self._reception: Reception | None = None
        self._failure: int | None = None
        if content_type is not None and not _is_dicom(content_type):
            self._failure = Status.CANNOT_UNDERSTAND

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._failure is None and self._left < 0:
            self._fail(Status.OUT_OF_RESOURCES)
        if self._failure is not None:
            return
        if self._reception is not None:
            self._reception.write(memoryview(data))
            return
        self._head += data
        self._begin(is_last=False)

    def finish(self, outcome: StowOutcome) -> None:
        if self._failure is None and self._reception is None:
            self._begin(is_last=True)
        if self._failure is None and self._reception is not None:
            answer = self._reception.finish()
            self._reception.log_answer()
            self._reception = None
            if answer.outcome is InstanceOutcome.CONFLICT:
                # What this UID leads to is, and stays, the first.
                self._failure = _DUPLICATE_INSTANCE
            elif answer.instance is not None:
                one = answer.instance
                outcome.stored.append(
                    InstanceHeader(
                        sop_class_uid=one.sop_class_uid,
                        sop_instance_uid=one.sop_instance_uid,
                        transfer_syntax_uid=one.transfer_syntax_uid,
                        study_instance_uid=one.study_instance_uid,
                        series_instance_uid=one.series_instance_uid,
                        is_own_result=one.is_own_result,
                        data_set_offset=0,
                    )
                )
                return
            else:
                self._failure = answer.status
        outcome.failed.append((*self.uids, self._failure or Status.PROCESSING_FAILURE))

    def abandon(self) -> None:
        if self._reception is not None:
            self._reception.abandon()
            self._reception = None

    def _fail(self, reason: int) -> None:
        self._failure = reason
        self._head = b""
        self.abandon()

    def _begin(self, *, is_last: bool) -> None:
        """Begin to receive once the file meta information is whole."""
        end = _meta_end(self._head)
        if end is None or len(self._head) < end:
            if is_last or len(self._head) > _MAX_META_BYTES + 144:
                self._fail(Status.CANNOT_UNDERSTAND)
            return
        if end == 0:
            self._fail(Status.CANNOT_UNDERSTAND)
            return
        try:
            values = scan_data_set(
                self._head[:end], start=132, is_implicit=False, is_little=True, group=2
            ).values
        except NodeError:
            self._fail(Status.CANNOT_UNDERSTAND)
            return
        class_uid, uid, syntax = (
            values.get(tag, b"").strip(b"\0 ").decode("ascii", "replace")
            for tag in (
                Tag.MEDIA_STORAGE_SOP_CLASS_UID,
                Tag.MEDIA_STORAGE_SOP_INSTANCE_UID,
                Tag.TRANSFER_SYNTAX_UID,
            )
        )
        if not (is_uid(class_uid) and is_uid(uid) and is_uid(syntax)):
            self._fail(Status.CANNOT_UNDERSTAND)
            return
        self.uids = (class_uid, uid)
        if class_uid not in _ACCEPTED_CLASSES:
            self._fail(Status.SOP_CLASS_NOT_SUPPORTED)
            return
        if syntax not in _ACCEPTED_SYNTAXES:
            self._fail(_SYNTAX_NOT_SUPPORTED)
            return
        self._reception = self._receiver.begin(
            StoreRequest(
                sop_class_uid=class_uid,
                sop_instance_uid=uid,
                transfer_syntax_uid=syntax,
                calling_ae_title=self._request.sender,
                peer_address=self._request.peer_address,
            )
        )
        rest, self._head = self._head[end:], b""
        if rest:
            self._reception.write(memoryview(rest))


def _meta_end(head: bytes) -> int | None:
    """Return where file meta information ends; None: not known yet; 0: it is none."""
    if len(head) < 144:
        return None
    # PS3.10 7.1: the group length comes first and is little endian.
    if head[128:132] != b"DICM" or head[132:140] != b"\x02\0\0\0UL\x04\0":
        return 0
    length = int.from_bytes(head[140:144], "little")
    return 0 if length > _MAX_META_BYTES else 144 + length


def _is_dicom(content_type: str) -> bool:
    try:
        return parse_media_type(content_type).name == DICOM
    except DicomwebError:
        return False


def _reference(class_uid: str, uid: str) -> Json:
    return describe(
        {"ReferencedSOPClassUID": class_uid, "ReferencedSOPInstanceUID": uid}
    )


def _reason(reason: int) -> Json:
    return describe({"FailureReason": int(reason)})


def _stored(one: InstanceHeader, root: str) -> Json:
    url = (
        f"{root}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        f"/instances/{one.sop_instance_uid}"
    )
    reference = _reference(one.sop_class_uid, one.sop_instance_uid)
    return dict(sorted({**reference, **describe({"RetrieveURL": url})}.items()))


def _sequence(tag: str, items: list[Json]) -> Json:
    return {tag: {"vr": "SQ", "Value": items}}
