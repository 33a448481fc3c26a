"""DICOM files as a web service sends them: part after part, written as they come.

References
----------
PS3.18 8.6.1.2 (multipart), PS3.10 7.1 (the file in each part).

"""

from __future__ import annotations

from collections.abc import Iterable
from email.message import Message

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from conformance.profile import Status
from dicom_node.data_set import Tag, scan_data_set
from dicom_node.errors import CannotUnderstandError, RetrieveError
from dicom_node.retrieve.storing import Arrival, Arrivals

__all__ = ["take_files"]

_PREFIX_BYTES = 132
_GROUP_LENGTH_BYTES = 12
_MOST_META_BYTES = 1 << 16
_META_GROUP_LENGTH = bytes((2, 0, 0, 0)) + b"UL" + bytes((4, 0))


def take_files(
    content_type: str, blocks: Iterable[bytes], *, arrivals: Arrivals
) -> None:
    """Take the files of an answer, each into the spool while it comes.

    Parameters
    ----------
    content_type : str
        Of the answer: ``multipart/related`` or, for one file, ``application/dicom``.
    blocks : iterable of bytes
        The answer's body.
    arrivals : Arrivals
        Keeps the instances that were asked for.

    Raises
    ------
    RetrieveError
        The answer is something else, or ends in the middle.

    """
    message = Message()
    message["Content-Type"] = content_type
    kind = message.get_content_type()
    boundary = message.get_boundary()
    files = _Files(arrivals)
    if kind == "application/dicom":
        files.begin()
        for block in blocks:
            files.write(block, 0, len(block))
        files.end()
    elif kind == "multipart/related" and boundary:
        parser = MultipartParser(
            boundary.encode("ascii", "replace"),
            {
                "on_part_begin": files.begin,
                "on_part_data": files.write,
                "on_part_end": files.end,
                "on_end": files.close,
            },
        )
        try:
            for block in blocks:
                parser.write(block)
        except MultipartParseError as error:
            raise RetrieveError("its answer is not multipart/related") from error
        finally:
            arrivals.abandon()
        if not files.is_closed:
            raise RetrieveError("its answer ended in the middle")
    else:
        raise RetrieveError("it answered with something else than DICOM files")


class _Files:
    """The files of one answer, one after the other."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._head = bytearray()
        self._is_hopeless = False
        self._arrival: Arrival | None = None
        self.is_closed = False

    def begin(self) -> None:
        self._head = bytearray()
        self._is_hopeless = False
        self._arrival = None

    def write(self, data: bytes, start: int, end: int) -> None:
        if self._arrival is not None:
            self._arrival.write(memoryview(data)[start:end])
            return
        if self._is_hopeless:
            return
        self._head += memoryview(data)[start:end]
        if len(self._head) >= _needed(self._head):
            self._open()

    def end(self) -> None:
        if self._arrival is None:
            self._open()
        if self._arrival is None:
            self._arrivals.refusals.append(Status.CANNOT_UNDERSTAND)
        else:
            self._arrivals.finish(self._arrival)
        self.begin()

    def close(self) -> None:
        self.is_closed = True

    def _open(self) -> None:
        """Begin the instance when its file meta information is here."""
        head = bytes(self._head)
        # Whatever comes after so many bytes is not kept: it begins no instance.
        self._is_hopeless = len(head) >= _MOST_META_BYTES
        if head[128:_PREFIX_BYTES] != b"DICM":
            return
        try:
            meta = scan_data_set(
                head, start=_PREFIX_BYTES, is_implicit=False, is_little=True, group=2
            )
        except CannotUnderstandError:
            return
        self._arrival = self._arrivals.begin(
            sop_class_uid=_uid(meta.values, Tag.MEDIA_STORAGE_SOP_CLASS_UID),
            sop_instance_uid=_uid(meta.values, Tag.MEDIA_STORAGE_SOP_INSTANCE_UID),
            transfer_syntax_uid=_uid(meta.values, Tag.TRANSFER_SYNTAX_UID),
        )
        self._arrival.write(memoryview(head)[meta.end :])
        self._head = bytearray()


def _needed(head: bytearray) -> int:
    """Return how many bytes of a file hold its meta information."""
    start = _PREFIX_BYTES
    if len(head) < start + _GROUP_LENGTH_BYTES:
        return start + _GROUP_LENGTH_BYTES
    if head[start : start + 8] != _META_GROUP_LENGTH:
        return _MOST_META_BYTES  # without a length: until the data set has begun
    length = int.from_bytes(head[start + 8 : start + 12], "little")
    return min(start + _GROUP_LENGTH_BYTES + length, _MOST_META_BYTES)


def _uid(values: dict[int, bytes], tag: Tag) -> str:
    return values.get(tag, b"").strip(b"\0 ").decode("ascii", "replace")
