"""A destination in this process: keeps what it gets, and can be away or refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dicom_node.config import DestinationSettings
from tests.builders.process import free_port

__all__ = ["Archive"]


class Archive:
    """A Storage SCP on loopback.

    Parameters
    ----------
    name : str
        Its name as a destination.
    answer : callable
        Returns the status for a SOP Instance UID.

    """

    def __init__(
        self, name: str = "pacs", *, answer: Callable[[str], int] = lambda _uid: 0
    ) -> None:
        self.destination = DestinationSettings(
            name=name, ae_title="ARCHIVE", host="127.0.0.1", port=free_port()
        )
        self.answer = answer
        self.arrivals: list[tuple[str, str, bytes]] = []
        """Study, SOP Instance UID and data set of everything that was accepted."""
        self._lock = threading.Lock()
        self._ae = AE("ARCHIVE")
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._ae.add_supported_context(Verification)
        self._ae.maximum_associations = 100
        self._server = None

    def __enter__(self) -> Archive:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs in the order of arrival, repeats included."""
        with self._lock:
            return [uid for _, uid, _ in self.arrivals]

    def open(self) -> None:
        """Listen."""
        self._server = self._ae.start_server(
            (self.destination.host, self.destination.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        status = self.answer(uid)
        if status in {0x0000, 0xB000, 0xB006, 0xB007}:
            data = event.request.DataSet.getvalue()
            study = str(event.dataset.StudyInstanceUID)
            with self._lock:
                self.arrivals.append((study, uid, data))
        return status
