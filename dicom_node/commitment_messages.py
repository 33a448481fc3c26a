"""What storage commitment says: requests and reports, PS3.4 J.3, as data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import pydicom.uid
from pydicom.dataset import Dataset

from conformance.commitment import EventType, FailureReason
from dicom_node.data_set import scan_data_set
from dicom_node.errors import CannotUnderstandError
from dicom_node.header import is_uid

__all__ = [
    "CommitmentReport",
    "CommitmentRequest",
    "SopReference",
    "decode_data_set",
    "encode_data_set",
    "read_report",
    "read_request",
    "report_data_set",
    "request_data_set",
]


class SopReference(NamedTuple):
    """An instance that is to be committed to."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """Action information of N-ACTION, PS3.4 Table J.3-1."""

    transaction_uid: str
    references: tuple[SopReference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """Event information of N-EVENT-REPORT, PS3.4 Table J.3-2."""

    transaction_uid: str
    committed: tuple[SopReference, ...] = ()
    failed: Mapping[SopReference, int] = field(default_factory=dict)
    """Failure Reason of each."""

    @property
    def event_type(self) -> EventType:
        """Event Type ID."""
        return EventType.FAILURES_EXIST if self.failed else EventType.SUCCESSFUL


def request_data_set(request: CommitmentRequest) -> Dataset:
    """Return the data set of a request."""
    ds = Dataset()
    ds.TransactionUID = request.transaction_uid
    ds.ReferencedSOPSequence = [_item(one) for one in request.references]
    return ds


def report_data_set(report: CommitmentReport) -> Dataset:
    """Return the data set of a report."""
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    if report.committed:
        ds.ReferencedSOPSequence = [_item(one) for one in report.committed]
    if report.failed:
        ds.FailedSOPSequence = [
            _item(one, reason) for one, reason in report.failed.items()
        ]
    return ds


def read_request(ds: Dataset) -> CommitmentRequest:
    """Read a request.

    Raises
    ------
    CannotUnderstandError
        It has no Transaction UID, or names nothing.

    """
    try:
        references = tuple(
            dict.fromkeys(map(_reference, ds.get("ReferencedSOPSequence") or ()))
        )
        request = CommitmentRequest(str(ds.get("TransactionUID", "")), references)
    except (AttributeError, TypeError, ValueError) as error:
        raise CannotUnderstandError("a reference cannot be read") from error
    if not is_uid(request.transaction_uid):
        raise CannotUnderstandError("there is no Transaction UID")
    if not references:
        raise CannotUnderstandError("it names no instance")
    return request


def read_report(ds: Dataset) -> CommitmentReport:
    """Read a report. What is in both of its lists has failed.

    Raises
    ------
    CannotUnderstandError
        It has no Transaction UID, or a list that cannot be read.

    """
    try:
        failed = {
            _reference(one): int(
                one.get("FailureReason") or FailureReason.PROCESSING_FAILURE
            )
            for one in ds.get("FailedSOPSequence") or ()
        }
        committed = tuple(
            one
            for one in map(_reference, ds.get("ReferencedSOPSequence") or ())
            if one not in failed
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise CannotUnderstandError("a reference cannot be read") from error
    transaction_uid = str(ds.get("TransactionUID", ""))
    if not is_uid(transaction_uid):
        raise CannotUnderstandError("there is no Transaction UID")
    return CommitmentReport(transaction_uid, committed, failed)


def decode_data_set(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """Decode a data set that came over the network.

    Raises
    ------
    CannotUnderstandError
        It cannot be parsed, or nests too deep.

    """
    # Imported here: what receives must listen before all this is loaded.
    from pynetdicom.dsutils import decode

    syntax = pydicom.uid.UID(transfer_syntax_uid)
    # The library recurses into sequences: the walk bounds their depth first.
    scan_data_set(
        data,
        start=0,
        is_implicit=syntax.is_implicit_VR,
        is_little=syntax.is_little_endian,
    )
    try:
        ds = decode(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)
        _touch((ds,))
    except Exception as error:
        raise CannotUnderstandError("it cannot be parsed") from error
    return ds


def encode_data_set(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode a data set of ours.

    Raises
    ------
    CannotUnderstandError
        A value in it cannot be encoded.

    """
    from pynetdicom.dsutils import encode

    syntax = pydicom.uid.UID(transfer_syntax_uid)
    data = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian)
    if data is None:
        raise CannotUnderstandError("it cannot be encoded")
    return data


def _touch(data_sets: Iterable[Dataset]) -> None:
    """Read every value: the library parses them when they are asked for."""
    for ds in data_sets:
        for element in ds:
            if element.VR == "SQ":
                _touch(element.value)


def _item(reference: SopReference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def _reference(item: Dataset) -> SopReference:
    found = SopReference(
        str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)
    )
    if not all(map(is_uid, found)):
        msg = "a reference is no UID"
        raise ValueError(msg)
    return found
