"""What an archive stores here, written to the spool while it arrives.

pynetdicom puts a message together in memory before it is handled; an instance of some
gigabytes would be there twice. Here its data set goes to the spool piece by piece.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

from conformance.profile import Status
from dicom_node.receive import InstanceReceiver, Reception, StoreRequest
from dicom_node.scu import KeptAnswers

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

__all__ = ["Arrivals"]


class Arrivals:
    """The receiving end of one archive: what was asked for is kept, the rest refused.

    Parameters
    ----------
    receiver : InstanceReceiver
        Makes instances durable.
    ae_title, address : str
        The archive, as it is recorded with what it sends.
    max_bytes : int
        Longest data set that is taken.

    """

    def __init__(
        self,
        receiver: InstanceReceiver,
        *,
        ae_title: str,
        address: str,
        max_bytes: int,
    ) -> None:
        self._receiver = receiver
        self._ae_title = ae_title[:16]
        self._address = address[:64]
        self._max_bytes = max_bytes
        self._wanted: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._open: set[Arrival] = set()
        self.refusals: list[Status] = []
        """How instances were answered that could not be kept."""
        self.kept: set[str] = set()
        """SOP Instance UIDs of what is durable."""

    def expect(self, sop_instance_uids: Collection[str]) -> None:
        """Take these instances from now on, and no other."""
        self._wanted = frozenset(sop_instance_uids)

    def begin(
        self, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Arrival:
        """Begin to take an instance, or to throw it away when nobody asked for it."""
        reception = None
        if sop_instance_uid in self._wanted:
            reception = self._receiver.begin(
                StoreRequest(
                    sop_class_uid=sop_class_uid,
                    sop_instance_uid=sop_instance_uid,
                    transfer_syntax_uid=transfer_syntax_uid,
                    calling_ae_title=self._ae_title,
                    peer_address=self._address,
                )
            )
        arrival = Arrival(sop_instance_uid, reception, max_bytes=self._max_bytes)
        with self._lock:
            self._open.add(arrival)
        return arrival

    def finish(self, arrival: Arrival) -> Status:
        """Make an instance durable; return what the archive is told."""
        with self._lock:
            self._open.discard(arrival)
        status = arrival.finish()
        if status is Status.SUCCESS:
            self.kept.add(arrival.sop_instance_uid)
        else:
            self.refusals.append(status)
        return status

    def abandon(self) -> None:
        """Forget what has not come whole: its connection is gone."""
        with self._lock:
            left, self._open = self._open, set()
        for arrival in left:
            arrival.abandon()

    def make_dimse(self, association: Association) -> DIMSEServiceProvider:
        """Make the end of an association that hands data sets on as they arrive."""
        return _StreamingProvider(association, self)

    def answer(self, event: evt.Event) -> int:
        """Answer a C-STORE whose data set has arrived."""
        data_set = getattr(event.request, "DataSet", None)
        arrival = getattr(data_set, "arrival", None)
        if arrival is None:  # a request without a data set
            return int(Status.MISTYPED_ARGUMENT)
        return int(self.finish(arrival))


class Arrival:
    """One instance on its way in."""

    def __init__(
        self, sop_instance_uid: str, reception: Reception | None, *, max_bytes: int
    ) -> None:
        self.sop_instance_uid = sop_instance_uid
        self._reception = reception
        self._left = max_bytes

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set."""
        self._left -= len(data)
        if self._left < 0:
            self.abandon()
        elif self._reception is not None:
            self._reception.write(memoryview(data))

    def finish(self) -> Status:
        """Make it durable; return what its sender is told."""
        if self._left < 0:
            return Status.OUT_OF_RESOURCES
        if self._reception is None:
            return Status.CANNOT_UNDERSTAND  # nobody asked for it
        status = self._reception.finish().status
        self._reception.log_answer()
        return status

    def abandon(self) -> None:
        """Forget it."""
        if self._reception is not None:
            self._reception.abandon()
            self._reception = None


class _StreamingProvider(KeptAnswers):
    """Puts messages together as ever, but keeps no data set that is to be stored."""

    def __init__(self, association: Association, arrivals: Arrivals) -> None:
        super().__init__(association)
        self._arrivals = arrivals

    def receive_primitive(self, primitive: P_DATA) -> None:
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = _DataSet(self, self.message)
        super().receive_primitive(primitive)

    def begin(self, message: DIMSEMessage) -> Arrival:
        """Begin to take the instance that a message brings."""
        command: Any = message.command_set
        contexts = self.assoc._accepted_cx
        context = contexts.get(message.context_id or 0)
        return self._arrivals.begin(
            sop_class_uid=str(command.get("AffectedSOPClassUID", "")),
            sop_instance_uid=str(command.get("AffectedSOPInstanceUID", "")),
            transfer_syntax_uid=(
                "" if context is None else str(context.transfer_syntax[0])
            ),
        )


class _DataSet(BytesIO):
    """The data set of a message: of a C-STORE request it keeps nothing."""

    arrival: Arrival | None = None

    def __init__(self, provider: _StreamingProvider, message: DIMSEMessage) -> None:
        super().__init__()
        self._provider = provider
        self._message = message

    def write(self, data: Any) -> int:
        if not isinstance(self._message, C_STORE_RQ):
            return super().write(data)
        if self.arrival is None:
            self.arrival = self._provider.begin(self._message)
        self.arrival.write(data)
        return len(data)
