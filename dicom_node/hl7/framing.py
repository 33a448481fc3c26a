"""Cuts the byte stream of a sender into messages: HL7 MLLP Release 1.

A block is ``0x0B`` message ``0x1C 0x0D``. Bytes between blocks are skipped. A ``0x0B``
inside a block belongs to it: word processors write it for a line break.
"""

from __future__ import annotations

from dicom_node.errors import ProtocolViolationError

__all__ = ["FrameReader", "frame"]

_START = b"\x0b"
_END = b"\x1c\x0d"


def frame(message: bytes) -> bytes:
    """Put a message into a block."""
    return _START + message + _END


class FrameReader:
    """Takes bytes as they come and gives messages.

    Parameters
    ----------
    max_message_bytes : int
        Longest message; also the most that is skipped between two messages.

    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_bytes = max_message_bytes
        self._block = bytearray()
        self._is_inside = False
        self._searched = 0
        self._skipped = 0

    @property
    def is_inside(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._is_inside

    @property
    def begun(self) -> bytes:
        """What has come of the message that has not ended."""
        return bytes(self._block)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the messages that they complete, in order.

        Raises
        ------
        ProtocolViolationError
            A message is longer than allowed, or too much lies between messages.
            The stream cannot be read any further.

        """
        messages: list[bytes] = []
        while data:
            if not self._is_inside:
                data = self._skip_to_start(data)
                continue
            self._block += data
            end = self._block.find(_END, self._searched)
            length = len(self._block) if end < 0 else end
            if length > self._max_bytes:
                msg = f"the message has more than {self._max_bytes} bytes"
                raise ProtocolViolationError(msg, messages=messages)
            if end < 0:
                # The end mark may be cut in two: look at the last byte again.
                self._searched = max(0, len(self._block) - 1)
                break
            messages.append(bytes(self._block[:end]))
            data = bytes(self._block[end + len(_END) :])
            self._begin(is_inside=False)
        return messages

    def _skip_to_start(self, data: bytes) -> bytes:
        start = data.find(_START)
        self._skipped += len(data) if start < 0 else start
        if self._skipped > self._max_bytes:
            msg = "no message begins"
            raise ProtocolViolationError(msg, messages=[])
        if start < 0:
            return b""
        self._skipped = 0
        self._begin(is_inside=True)
        return data[start + 1 :]

    def _begin(self, *, is_inside: bool) -> None:
        self._block.clear()
        self._searched = 0
        self._is_inside = is_inside
