"""The request that is arriving on an association, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.profile import Status
from dicom_node.receive import Reception
from dicom_node.scp.dimse import Command
from dicom_node.scp.normalized import NormalizedMessage

__all__ = ["Arriving", "Progress"]


@dataclass(slots=True)
class Arriving:
    """A request whose data set is arriving."""

    context_id: int
    command: Command
    reception: Reception | None
    """None, nor ``normalized``: the data set is thrown away, ``status`` the answer."""
    normalized: NormalizedMessage | None = None
    status: int = Status.SUCCESS
    comment: str = ""


@dataclass(slots=True)
class Progress:
    """How far the current request of an association has come."""

    command_bytes: bytearray = field(default_factory=bytearray)
    context_id: int | None = None
    message: Arriving | None = None
    bytes_received: int = 0

    @property
    def is_between_requests(self) -> bool:
        """Whether none has begun."""
        return self.message is None and not self.command_bytes
