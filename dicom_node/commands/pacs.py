"""A small archive that receives results: the demo's destination."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from conformance.profile import VERIFICATION_SOP_CLASS_UID
from dicom_node.durable import write_whole

__all__ = ["ReceivingPacs"]


class ReceivingPacs:
    """A Storage SCP on loopback that writes what it gets, as it came.

    Parameters
    ----------
    ae_title : str
        Its AE title.
    folder : pathlib.Path
        Where files go, numbered in the order of arrival.

    """

    def __init__(self, ae_title: str, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] = {}
        self._ae = AE(ae_title)
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._ae.add_supported_context(VERIFICATION_SOP_CLASS_UID)
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> ReceivingPacs:
        self._folder.mkdir(parents=True)
        self._server = self._ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            msg = "the archive is not open"
            raise RuntimeError(msg)
        return int(self._server.server_address[1])

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files received so far, in order of arrival."""
        return tuple(self._paths.values())

    @property
    def sop_instance_uids(self) -> frozenset[str]:
        """The SOP Instance UIDs received so far."""
        return frozenset(self._paths)

    def _store(self, event: evt.Event) -> int:
        uid = str(event.dataset.SOPInstanceUID)
        modality = getattr(event.dataset, "Modality", "OT")
        path = self._folder / f"{len(self._paths) + 1:03}-{modality}.dcm"
        write_whole(path, event.encoded_dataset())
        self._paths[uid] = path
        return 0x0000
