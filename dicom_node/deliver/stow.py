"""Send objects by STOW-RS, PS3.18 10.5: the files as they are, in bounded requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import httpx

from conformance.stow_statuses import judge_stow_reason, judge_stow_status
from dicom_node.config import DestinationSettings
from dicom_node.deliver.multipart import MultipartBody, choose_boundary
from dicom_node.deliver.records import OnOutcome, Sendable, SendOutcome, failed
from dicom_node.deliver.stow_answer import StowAnswer, read_stow_answer
from dicom_node.errors import DeliveryError, SettingsError
from dicom_node.http_peer import http_client

__all__ = ["MAX_BATCH", "MAX_BATCH_BYTES", "ask_for_a_study", "send_by_stow"]

MAX_BATCH = 100
"""Instances in a request: what a cut connection makes us send again."""

MAX_BATCH_BYTES = 256 << 20
"""Bytes in a request, but for one instance that alone is larger."""

_MAX_ANSWER_BYTES = 16 << 20
_ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"
_TOO_LARGE = 413
_WITH_LISTS = frozenset({200, 202, 409})


def send_by_stow(
    objects: Sequence[Sendable],
    destination: DestinationSettings,
    *,
    on_outcome: OnOutcome,
    timeout_s: float = 120.0,
) -> None:
    """Send files to a STOW-RS service.

    Parameters
    ----------
    objects : sequence of Sendable
        What to send, with their studies.
    destination : DestinationSettings
        Of kind ``stow``.
    on_outcome : callable
        Told each outcome when it is known. Whatever goes wrong is an outcome; an
        instance that the answer does not name is not delivered.
    timeout_s : float
        How long the service may be silent, in seconds.

    """
    try:
        client = _client(destination, timeout_s=timeout_s)
    except SettingsError as error:
        for one in objects:
            on_outcome(failed(one, str(error)))
        return
    with client:
        for batch in _batches(objects, on_outcome):
            for outcome in _send_batch(client, batch):
                on_outcome(outcome)


def ask_for_a_study(destination: DestinationSettings) -> None:
    """Ask a DICOMweb service for a sign of life: QIDO-RS for one study.

    Raises
    ------
    DeliveryError
        It cannot be reached, or answers with another status than 200 or 204.
    SettingsError
        The token cannot be read.

    """
    with _client(destination, timeout_s=30.0) as client:
        try:
            answer = client.get(
                "studies",
                params={"limit": "1"},
                headers={"Accept": "application/dicom+json"},
            )
        except httpx.HTTPError as error:
            raise DeliveryError(_trouble(error)) from error
    if answer.status_code not in {200, 204}:
        row = judge_stow_status(answer.status_code)
        raise DeliveryError(f"{row.note or 'unknown answer'} ({answer.status_code})")


def _client(destination: DestinationSettings, *, timeout_s: float) -> httpx.Client:
    return http_client(
        destination.url or "",
        token_file=destination.token_file,
        tls=destination.tls,
        timeout_s=timeout_s,
    )


def _batches(
    objects: Sequence[Sendable], on_outcome: OnOutcome
) -> Iterator[list[Sendable]]:
    """Yield what goes into one request: of one study, few enough, small enough."""
    batch: list[Sendable] = []
    size = 0
    for one in sorted(objects, key=lambda item: item.study_instance_uid):
        try:
            own = one.path.stat().st_size
        except OSError:
            on_outcome(failed(one, "the file cannot be read"))
            continue
        if batch and (
            batch[0].study_instance_uid != one.study_instance_uid
            or len(batch) == MAX_BATCH
            or size + own > MAX_BATCH_BYTES
        ):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += own
    if batch:
        yield batch


def _send_batch(
    client: httpx.Client, batch: Sequence[Sendable]
) -> Iterator[SendOutcome]:
    try:
        status, answer = _post(client, batch)
    except DeliveryError as error:
        yield from (failed(one, str(error)) for one in batch)
        return
    if status == _TOO_LARGE and len(batch) > 1:
        for one in batch:
            yield from _send_batch(client, [one])
        return
    yield from (_judge(one, status, answer) for one in batch)


def _post(
    client: httpx.Client, batch: Sequence[Sendable]
) -> tuple[int, StowAnswer | None]:
    """Send one request and return its status and, where it has one, its answer.

    Raises
    ------
    DeliveryError
        There was no answer, or none that can be read; nothing is known.

    """
    paths = [one.path for one in batch]
    try:
        body = MultipartBody(paths, boundary=choose_boundary(paths))
        request = client.build_request(
            "POST",
            f"studies/{batch[0].study_instance_uid}",
            content=body,
            headers={
                "Content-Type": body.content_type,
                "Content-Length": str(body.content_length),
                "Accept": _ACCEPT,
            },
        )
        answer = client.send(request, stream=True)
        try:
            said = _read(answer)
        finally:
            answer.close()
    except OSError as error:
        raise DeliveryError("a file cannot be read") from error
    except httpx.HTTPError as error:
        raise DeliveryError(_trouble(error)) from error
    status = answer.status_code
    if status not in _WITH_LISTS or not said:
        return status, None
    try:
        kind = answer.headers.get("Content-Type", "")
        return status, read_stow_answer(said, content_type=kind)
    except DeliveryError:
        if judge_stow_status(status).is_delivered:
            raise
        return status, None  # An error page: the status says enough.


def _read(answer: httpx.Response) -> bytes:
    said = bytearray()
    for piece in answer.iter_bytes():
        said += piece
        if len(said) > _MAX_ANSWER_BYTES:
            raise DeliveryError("its answer is too long")
    return bytes(said)


def _judge(one: Sendable, status: int, answer: StowAnswer | None) -> SendOutcome:
    uid = one.sop_instance_uid
    row = judge_stow_status(status)
    if answer is not None and uid in answer.failed:
        reason = answer.failed[uid]
        found = judge_stow_reason(reason)
        # A warning code in the list of failures is a failure all the same.
        is_delivered = found.is_delivered and not 0xB000 <= reason <= 0xBFFF
        note = f"{found.note} (0x{reason:04X})"
        return SendOutcome(
            one.path, uid, is_delivered, reason, note, is_refused=found.is_refusal
        )
    # Older servers answer 409 where they stored some: their lists tell.
    if answer is not None and uid in answer.stored:
        warning = answer.stored[uid]
        note = "" if not warning else judge_stow_reason(warning).note
        return SendOutcome(one.path, uid, True, warning or 0, note)
    if row.is_delivered:
        return failed(one, "its answer does not name the instance", status=status)
    return failed(
        one, f"{row.note} ({status})", status=status, is_refused=row.is_refusal
    )


def _trouble(error: httpx.HTTPError) -> str:
    # The library's text may quote the peer: only its class is told.
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "it cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return "the connection was cut"
