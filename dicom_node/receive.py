"""C-STORE: stream to the disk, sync, record, and only then say 0x0000.

This is one of the two doors where any exception becomes a state: here a DIMSE status
from the table in `conformance.profile`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from conformance.profile import Status
from dicom_node.errors import (
    CannotUnderstandError,
    DatasetMismatchError,
    NodeError,
    OutOfResourcesError,
    StoreError,
)
from dicom_node.hash_ahead import HashAhead
from dicom_node.header import (
    Envelope,
    InstanceHeader,
    is_uid,
    read_data_set_header,
)
from dicom_node.instance_file import file_meta, instance_hash
from dicom_node.records import ReceivedInstance
from dicom_node.spool import Spool, SpoolWriter
from dicom_node.store import InstanceOutcome

__all__ = [
    "InstanceLedger",
    "InstanceReceiver",
    "OnInstance",
    "Reception",
    "StoreAnswer",
    "StoreRequest",
]

log = structlog.get_logger(__name__)

OnInstance = Callable[[ReceivedInstance, InstanceOutcome], None]
"""Told about every instance that is durable, from the association's thread."""


class InstanceLedger(Protocol):
    """Where it is written down that an instance is here."""

    def record_instance(self, instance: ReceivedInstance) -> InstanceOutcome:
        """Record an instance durably before returning.

        Raises
        ------
        StoreError
            It could not be recorded.

        """


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ, PS3.7 9.1.1, and the association that it came over."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    peer_address: str


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """What the caller is told; ``comment`` is free of patient data.

    ``instance`` and ``outcome`` are set when the instance is durable.
    """

    status: Status
    comment: str = ""
    instance: ReceivedInstance | None = None
    outcome: InstanceOutcome | None = None


_LARGE_BYTES = 8 << 20
"""From here on an instance is hashed beside its reception: for a smaller one it takes
longer to wake another thread than to hash."""

_HEAD_BYTES = 1 << 15
"""So much of a data set is kept in memory until it is whole: nearly all that is read of
an image lies there, and its file need not be opened again."""

_STATUSES: tuple[tuple[type[BaseException], Status], ...] = (
    (CannotUnderstandError, Status.CANNOT_UNDERSTAND),
    (DatasetMismatchError, Status.DATA_SET_MISMATCH),
    (OutOfResourcesError, Status.OUT_OF_RESOURCES),
    (StoreError, Status.OUT_OF_RESOURCES),
    (OSError, Status.OUT_OF_RESOURCES),
    (MemoryError, Status.OUT_OF_RESOURCES),
)
"""Which status an error becomes; any other is a processing failure."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class InstanceReceiver:
    """Receives instances into the spool and the ledger.

    Parameters
    ----------
    spool : Spool
        Keeps the bytes.
    ledger : InstanceLedger
        Keeps the record.
    on_instance : OnInstance, optional
        Told about each durable instance; what it raises is logged and changes no
        answer, since the instance is kept.
    clock : callable
        Returns the time of reception, with its zone.
    check : callable, optional
        Asked about each instance before it is kept; a `ReceiveError` that it raises
        refuses the instance.

    """

    def __init__(
        self,
        spool: Spool,
        ledger: InstanceLedger,
        *,
        on_instance: OnInstance | None = None,
        clock: Callable[[], datetime] = _utc_now,
        check: Callable[[InstanceHeader], None] = lambda _header: None,
    ) -> None:
        self._spool = spool
        self._ledger = ledger
        self._on_instance = on_instance
        self._clock = clock
        self.check = check

    def begin(self, request: StoreRequest) -> Reception:
        """Begin to receive an instance. Trouble is told by `Reception.finish`."""
        return Reception(self, request)

    def open_file(self, request: StoreRequest) -> tuple[SpoolWriter, int]:
        """Open a file and write its meta information; return it and their length."""
        for uid in (request.sop_class_uid, request.sop_instance_uid):
            if not is_uid(uid):
                raise CannotUnderstandError("a UID of the command is not a UID")
        meta = file_meta(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
        )
        writer = self._spool.open()
        writer.write(meta)
        return writer, len(meta)

    def keep(
        self,
        request: StoreRequest,
        *,
        header: InstanceHeader,
        path: Path,
        sha256: str,
        size_bytes: int,
    ) -> StoreAnswer:
        """Record a file that is durable and tell whoever wants to know."""
        instance = ReceivedInstance(
            sop_instance_uid=header.sop_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            path=path,
            sha256=sha256,
            size_bytes=size_bytes,
            calling_ae_title=request.calling_ae_title,
            peer_address=request.peer_address,
            received_at=self._clock(),
            is_own_result=header.is_own_result,
            study=header.study,
            series=header.series,
            image=header.image,
        )
        outcome = self._ledger.record_instance(instance)
        if self._on_instance is not None:
            try:
                self._on_instance(instance, outcome)
            except Exception as error:  # noqa: BLE001 - the instance is kept anyway
                # No traceback: its text may quote the data set.
                log.error(  # noqa: TRY400
                    "instance_callback_failed", error=type(error).__name__
                )
        return StoreAnswer(Status.SUCCESS, instance=instance, outcome=outcome)


class Reception:
    """One instance on its way in: `write` its bytes, then `finish` or `abandon`.

    After trouble the rest of the bytes is taken and thrown away, because a caller
    reads no answer before it has sent everything. Once the caller has its answer,
    `log_answer` writes the line of the log, which nobody waits for.
    """

    def __init__(self, receiver: InstanceReceiver, request: StoreRequest) -> None:
        self._receiver = receiver
        self._request = request
        self._failure: BaseException | None = None
        self._answer: StoreAnswer | None = None
        self._writer: SpoolWriter | None = None
        self._ahead: HashAhead | None = None
        self._meta_bytes = 0
        self._head = bytearray()
        self._hashes_ahead_at: float = _LARGE_BYTES
        self._digest = instance_hash(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
        )
        try:
            self._writer, self._meta_bytes = receiver.open_file(request)
        except Exception as error:  # noqa: BLE001 - a door: it becomes a status
            self._fail(error)

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the data set."""
        if self._writer is None:
            return
        try:
            if len(self._head) < _HEAD_BYTES:
                self._head += data[: _HEAD_BYTES - len(self._head)]
            self._writer.write(data)
            if self._ahead is not None:
                self._ahead.advance(self._writer.size_bytes)
                return
            self._digest.update(data)
            if self._writer.size_bytes >= self._hashes_ahead_at:
                self._hash_ahead(self._writer)
        except Exception as error:  # noqa: BLE001 - a door: it becomes a status
            self._fail(error)

    def finish(self) -> StoreAnswer:
        """Make the instance durable and return what the caller is told."""
        self._answer = None
        if self._writer is not None:
            try:
                self._answer = self._keep(self._writer)
            except Exception as error:  # noqa: BLE001 - a door: it becomes a status
                self._fail(error)
        self._answer = self._answer or self._refusal()
        return self._answer

    def log_answer(self) -> None:
        """Log what `finish` has returned."""
        answer = self._answer
        if answer is None:
            return
        if answer.instance is not None:
            log.info(
                "instance_received",
                sop_instance_uid=answer.instance.sop_instance_uid,
                size_bytes=answer.instance.size_bytes,
                outcome=str(answer.outcome),
            )
            return
        error = self._failure
        log.warning(
            "instance_refused",
            status=f"0x{answer.status:04X}",
            error=type(error).__name__,
            reason=_reason(error),
        )

    def abandon(self) -> None:
        """Forget the instance: the rest of it will not come."""
        if self._ahead is not None:
            self._ahead.abandon()
            self._ahead = None
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _keep(self, writer: SpoolWriter) -> StoreAnswer:
        request = self._request
        writer.begin_to_sync()  # while it is looked at
        header = self._read_header(writer)
        if (header.sop_class_uid, header.sop_instance_uid) != (
            request.sop_class_uid,
            request.sop_instance_uid,
        ):
            raise DatasetMismatchError
        self._receiver.check(header)
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            ahead.finish(writer.size_bytes)
        sha256 = self._digest.hexdigest()
        # Until `keep` the file is refused with whatever refuses the instance.
        answer = self._receiver.keep(
            request,
            header=header,
            path=writer.commit(sha256),
            sha256=sha256,
            size_bytes=writer.size_bytes,
        )
        writer.keep()
        self._writer = None
        return answer

    def _hash_ahead(self, writer: SpoolWriter) -> None:
        try:
            self._ahead = HashAhead(writer.path, self._digest, offset=writer.size_bytes)
        except RuntimeError:  # No room for a thread: this one goes on alone.
            self._hashes_ahead_at = math.inf

    def _read_header(self, writer: SpoolWriter) -> InstanceHeader:
        request = self._request
        try:
            return read_data_set_header(
                writer.path,
                envelope=Envelope(
                    sop_class_uid=request.sop_class_uid,
                    sop_instance_uid=request.sop_instance_uid,
                    transfer_syntax_uid=request.transfer_syntax_uid,
                    data_set_offset=self._meta_bytes,
                ),
                head=bytes(self._head),
                size_bytes=writer.size_bytes - self._meta_bytes,
            )
        except (CannotUnderstandError, MemoryError, OSError):
            raise
        except Exception as error:
            # Whatever a hostile data set provokes in the reader is its own fault.
            raise CannotUnderstandError from error

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.abandon()

    def _refusal(self) -> StoreAnswer:
        error = self._failure = self._failure or RuntimeError("finished twice")
        status = next(
            (status for kind, status in _STATUSES if isinstance(error, kind)),
            Status.PROCESSING_FAILURE,
        )
        comment = _reason(error)
        if isinstance(error, StoreError):
            comment = "the database could not answer"  # not where it is
        return StoreAnswer(status, comment or "the instance could not be kept")


def _reason(error: BaseException | None) -> str:
    # Only our own errors are quoted: a library's text may hold a value.
    return str(error) if isinstance(error, NodeError) else ""
