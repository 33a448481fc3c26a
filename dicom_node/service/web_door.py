"""The node's door for HTTP: the page, its interface, DICOMweb and FHIR."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from dicom_node.assembly import Assembler
from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.spool import Spool
from dicom_node.store import Store
from dicom_node.tls import ServerTls
from dicom_node.web import HealthReport
from dicom_node.web.app import make_app
from dicom_node.web.parts import NodeNumbers, make_parts
from dicom_node.web.server import WebServer

__all__ = ["WebDoor"]


class WebDoor:
    """The web server with the DICOMweb service behind it.

    Parameters
    ----------
    settings : NodeSettings
        Address, limits and who may do what.
    store : Store
        What is shown and changed.
    assembler : Assembler
        Takes the instances that come by STOW-RS.
    spool : Spool
        Where they lie.
    is_draining : callable
        Whether nothing new is accepted.
    examine : callable
        Looks at the node's health.
    registry : prometheus_client.CollectorRegistry
        What is measured.
    numbers : callable
        What the running node knows of itself.
    counters : Counters
        Counts what is done.
    read_pdf : callable
        Reads the text of an embedded PDF.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        assembler: Assembler,
        *,
        spool: Spool,
        is_draining: Callable[[], bool],
        examine: Callable[[], HealthReport],
        registry: CollectorRegistry,
        numbers: Callable[[], NodeNumbers],
        counters: Counters,
        read_pdf: Callable[[bytes], str],
    ) -> None:
        self._dicomweb = DicomwebService(
            settings,
            catalogue=store.catalogue,
            spool=spool,
            ledger=assembler,
            on_release=assembler.association_released,
            is_draining=is_draining,
        )
        parts = make_parts(
            settings,
            store,
            examine=examine,
            registry=registry,
            node=numbers,
            dicomweb=self._dicomweb,
            counters=counters,
            read_pdf=read_pdf,
        )
        self._server = WebServer(make_app(parts), settings.web, parts=parts)

    @property
    def tls(self) -> ServerTls | None:
        """How HTTPS is spoken; None: it is not."""
        return self._server.tls

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    def start(self) -> None:
        """Listen.

        Raises
        ------
        SettingsError
            The port cannot be used.

        """
        self._server.start()

    def stop(self) -> None:
        """Answer nothing more."""
        self._server.stop()
        self._dicomweb.close()
