"""`dicom-node serve`: every room wired, in the order in which they may trust another.

lock -> migrate -> leftovers -> durable work -> worker -> listen -> web -> reconcile
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Self

import structlog
from prometheus_client import CollectorRegistry

from dicom_node import __version__
from dicom_node.assembly import Assembler, system_clock
from dicom_node.association import DicomServer
from dicom_node.audit import Counters, EventKind, configure_logging
from dicom_node.commitment import CommitmentService
from dicom_node.config import NodeSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.errors import NodeError, RuleError, SettingsError, StoreError
from dicom_node.hl7 import Answering, Hl7Listener
from dicom_node.http_peer import http_client
from dicom_node.inbox import ReportInbox
from dicom_node.receive import InstanceReceiver
from dicom_node.reconcile import reconcile
from dicom_node.reports import DocumentReader
from dicom_node.retrieve import ArchiveRetriever, RetrieveLine
from dicom_node.rules import RuleBook
from dicom_node.spool import Spool, write_whole
from dicom_node.store import Store
from dicom_node.web import (
    HealthReport,
    NodeCollector,
    NodeNumbers,
    WebServer,
    check_disk,
    examine,
    make_app,
    make_parts,
)
from dicom_node.workflows import DRAINING, PipelineProcessor, StudyProcessor, Workflows
from dicom_node.worklist import WorklistClient, WorklistPerformer

__all__ = ["LOCK_FILE", "NodeService"]

_SIGNAL_LOOK_S = 0.2
"""How often the main thread looks for a signal that came just before its wait."""

LOCK_FILE = "node.lock"
"""Held by the running node, in its data folder."""

_HOUSEKEEPING_S = 60.0
_DRAIN_LOOK_S = 0.5
_STOP_GRACE_S = 5
"""Work that takes longer is left to the next start: it is durable."""

_ACCEPT_GRACE_S = 10.0

log = structlog.get_logger(__name__)


class NodeService:
    """The node.

    Parameters
    ----------
    settings : NodeSettings
        Everything the operator decides.
    processor : StudyProcessor, optional
        Makes the results; the pipeline with the configured model when absent.

    """

    def __init__(
        self, settings: NodeSettings, *, processor: StudyProcessor | None = None
    ) -> None:
        self._settings = settings
        self._data_dir = settings.node.data_dir.resolve()
        self._processor = processor or PipelineProcessor(settings)
        self._registry = CollectorRegistry()
        self._counters = Counters(self._registry)
        self._hl7: Hl7Listener | None = None
        self._documents = DocumentReader()
        self._stop_asked = threading.Event()
        self._threads: list[threading.Thread] = []
        self._missing_files = 0
        self._is_reconciled = False
        self._drains = False
        self._drain_looked_at = -_DRAIN_LOOK_S
        self._started_at = datetime.now(UTC)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The DICOM port that it listens on."""
        return self._server.port

    @property
    def web_port(self) -> int | None:
        """The HTTP port that it listens on; None: no web server."""
        return None if self._web is None else self._web.port

    @property
    def hl7_port(self) -> int | None:
        """The MLLP port that it listens on; None: no HL7."""
        return None if self._hl7 is None else self._hl7.port

    @property
    def store(self) -> Store:
        """What was received, made and delivered."""
        return self._store

    @property
    def inbox(self) -> ReportInbox:
        """Where reports come in, by whichever channel."""
        return self._inbox

    def start(self) -> None:
        """Start everything; it listens when this returns, the model may still load.

        Raises
        ------
        SettingsError
            A port or the data folder cannot be used, or another node uses it or the
            database.
        StoreError
            The database cannot be opened.

        """
        began = time.monotonic()
        _check_rules(self._settings)
        self._started_at = datetime.now(UTC)
        settings = self._settings
        spool = self._spool = Spool(
            self._data_dir, min_free_bytes=settings.limits.min_free_bytes
        )
        self._lock_file = _lock(self._data_dir / LOCK_FILE)
        self._store = Store(settings.database_url)
        self._claim_database()
        leftovers = spool.remove_leftovers()
        self._store.switches.set(DRAINING, False, by="start")
        self._workflows = Workflows(
            settings, self._store, self._processor, counters=self._counters
        )
        self._workflows.launch()
        self._assembler = Assembler(
            self._store,
            self._workflows,
            quiet_time_s=settings.node.quiet_time_s,
            reports=settings.reports,
        )
        self._inbox = ReportInbox(self._store, clock=system_clock)
        retriever = self._make_retriever(spool)
        self._retrieve = self._make_retrieve_line(retriever)
        self._worklist = self._make_worklist(retriever)
        self._workflows.resume()
        self._commitment = CommitmentService(
            settings,
            self._store,
            clock=system_clock,
            on_report=self._workflows.take_report,
        )
        self._server = DicomServer(
            settings,
            spool=spool,
            ledger=self._assembler,
            on_release=self._assembler.association_released,
            commitments=self._commitment,
            is_draining=self._is_draining,
        )
        self._registry.register(
            NodeCollector(
                self._store,
                data_dir=self._data_dir,
                statistics=lambda: self._server.statistics,
                is_model_loaded=lambda: self._processor.trouble is None,
                destinations=tuple(one.name for one in settings.destinations),
            )
        )
        self._processor.start()
        self._server.start()
        self._commitment.start()
        if self._retrieve is not None:
            self._retrieve.start()
        if self._worklist is not None:
            self._worklist.start()
        self._web = self._start_web()
        self._hl7 = self._start_hl7()
        self._run_thread("assembly", self._assemble)
        self._run_thread("housekeeping", self._keep_house)
        self._store.record_event(
            EventKind.NODE_STARTED,
            detail={"version": __version__, "leftovers": leftovers},
        )
        log.info(
            "node_started",
            version=__version__,
            port=self.port,
            web_port=self.web_port,
            hl7_port=self.hl7_port,
            leftovers=leftovers,
            seconds=round(time.monotonic() - began, 2),
        )

    def stop(self) -> None:
        """Accept nothing more, finish what is quick, leave the rest durable."""
        log.info("node_stopping")
        self._stop_asked.set()
        self._server.stop(_ACCEPT_GRACE_S)
        self._commitment.stop()
        if self._hl7 is not None:
            self._hl7.stop(_ACCEPT_GRACE_S)
        self._assembler.stop()
        for thread in self._threads:
            thread.join(_ACCEPT_GRACE_S)
        if self._retrieve is not None:
            self._retrieve.stop()
        if self._worklist is not None:
            self._worklist.stop(_ACCEPT_GRACE_S)
        self._workflows.stop(grace_s=_STOP_GRACE_S)
        self._processor.stop()
        if self._web is not None:
            self._web.stop()
            self._dicomweb.close()
        self._documents.close()
        try:
            self._store.record_event(EventKind.NODE_STOPPED)
        except StoreError as error:
            log.warning("stop_not_recorded", reason=str(error))
        self._store.close()
        os.close(self._lock_file)
        log.info("node_stopped")

    def run_forever(self) -> None:
        """Run until SIGTERM or SIGINT."""
        # An event's lock may be held by the very thread that the signal interrupts;
        # putting into this queue is safe there.
        asked: SimpleQueue[int] = SimpleQueue()

        def ask(number: int, _frame: FrameType | None) -> None:
            asked.put(number)

        configure_logging()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)
        self.start()
        # A signal that comes just before a wait does not end it: look now and then.
        while asked.empty():
            time.sleep(_SIGNAL_LOOK_S)
        self.stop()
        # Everything is durable and closed. A library's thread that waits for a peer,
        # the model or its own queue would hold the process.
        logging.shutdown()
        os._exit(0)

    def examine(self) -> HealthReport:
        """Look at everything the node needs to do its work."""
        return examine(
            (
                ("disk", self._check_disk),
                ("database", self._check_database),
                ("dicom", self._check_dicom),
                ("hl7", self._check_hl7),
                ("worker", self._check_worker),
                ("files", self._check_files),
                ("work", self._check_work),
                ("model", self._check_model),
            )
        )

    def _claim_database(self) -> None:
        try:
            node_id = _node_id(self._data_dir / "node-id")
            self._store.migrate()
            if not self._store.claim(node_id):
                msg = (
                    "node.database_url: this database belongs to a node with another "
                    "data folder; every node needs a database of its own"
                )
                raise SettingsError(msg)
        except NodeError:
            self._store.close()
            os.close(self._lock_file)
            raise

    def _make_retriever(self, spool: Spool) -> ArchiveRetriever | None:
        if not self._settings.archives:
            return None
        return ArchiveRetriever(
            self._settings,
            self._store,
            receiver=InstanceReceiver(spool, self._assembler, clock=system_clock),
            hold=self._assembler.hold,
            release=self._assembler.association_released,
            clock=system_clock,
        )

    def _make_worklist(
        self, retriever: ArchiveRetriever | None
    ) -> WorklistPerformer | None:
        ups = self._settings.ups
        if ups.url is None:
            return None
        return WorklistPerformer(
            self._settings,
            self._store,
            client=WorklistClient(http_client(ups.url, token_file=ups.token_file)),
            bringer=retriever,
            clock=system_clock,
        )

    def _make_retrieve_line(
        self, retriever: ArchiveRetriever | None
    ) -> RetrieveLine | None:
        if retriever is None:
            return None
        line = RetrieveLine(retriever, self._store, clock=system_clock)
        self._workflows.complete_by(line)
        return line

    def _read_pdf(self, data: bytes) -> str:
        return self._documents.read_bytes(data, kind="pdf")

    def _start_hl7(self) -> Hl7Listener | None:
        if not self._settings.hl7.enabled:
            return None
        listener = Hl7Listener(
            self._settings.hl7,
            Answering(
                self._inbox,
                clock=system_clock,
                counters=self._counters,
                accession_fields=self._settings.hl7.accession_fields,
                read_pdf=self._read_pdf,
            ),
            max_message_bytes=self._settings.limits.max_message_bytes,
        )
        listener.start()
        return listener

    def _start_web(self) -> WebServer | None:
        if not self._settings.web.enabled:
            return None
        self._dicomweb = DicomwebService(
            self._settings,
            catalogue=self._store.catalogue,
            spool=self._spool,
            ledger=self._assembler,
            on_release=self._assembler.association_released,
            is_draining=self._is_draining,
        )
        parts = make_parts(
            self._settings,
            self._store,
            examine=self.examine,
            registry=self._registry,
            node=self._numbers,
            dicomweb=self._dicomweb,
            counters=self._counters,
            read_pdf=self._read_pdf,
        )
        web = WebServer(make_app(parts), self._settings.web, parts=parts)
        web.start()
        return web

    def _numbers(self) -> NodeNumbers:
        numbers = self._server.statistics
        return NodeNumbers(
            started_at=self._started_at,
            model=getattr(self._processor, "identity", None),
            model_trouble=self._processor.trouble,
            associations_open=numbers.open_associations,
            associations_accepted=numbers.associations_accepted,
            associations_rejected=sum(numbers.associations_rejected.values()),
        )

    def _run_thread(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _assemble(self) -> None:
        # Files without a row come before a version is made of their study; but what
        # does not pass by itself must not hold every other study.
        while not self._stop_asked.is_set() and self._survives(self._reconcile):
            if self._is_reconciled:
                break
            self._stop_asked.wait(1.0)
        self._assembler.run()

    def _reconcile(self) -> None:
        report = reconcile(self._store, self._spool, before=self._started_at)
        self._missing_files = report.missing
        self._is_reconciled = True

    def _keep_house(self) -> None:
        while not self._stop_asked.wait(_HOUSEKEEPING_S):
            self._survives(lambda: self._workflows.resume(only_overdue=True))
            if not self._is_reconciled:
                self._survives(self._reconcile)

    def _survives(self, task: Callable[[], None]) -> bool:
        """Do a round of a background loop; return whether its trouble will pass."""
        try:
            task()
        except StoreError as error:
            log.error("background_waits", reason=str(error))  # noqa: TRY400
        except Exception:
            # Its text may quote a data set: `audit` writes class and place.
            log.exception("background_failed")
            return False
        return True

    def _is_draining(self) -> bool:
        # Asked for each association: a look at the database now and then is enough.
        now = time.monotonic()
        if now - self._drain_looked_at >= _DRAIN_LOOK_S:
            self._drain_looked_at = now
            try:
                self._drains = bool(self._store.switches.get(DRAINING))
            except StoreError:
                return self._drains  # who sends is told that the database is away
        return self._drains

    def _check_work(self) -> str | None:
        if self._is_draining():
            return "it drains: nothing new is accepted"
        return None

    def _check_disk(self) -> str | None:
        reserved = self._settings.limits.min_free_bytes
        return check_disk(self._data_dir, min_free_bytes=reserved)

    def _check_database(self) -> str | None:
        try:
            self._store.ping()
        except StoreError as error:
            return str(error)
        return None

    def _check_dicom(self) -> str | None:
        if self._server.is_stopping:
            return "it does not listen"
        return self._commitment.trouble

    def _check_hl7(self) -> str | None:
        return None if self._hl7 is None else self._hl7.trouble

    def _check_worker(self) -> str | None:
        dead = [one.name for one in self._threads if not one.is_alive()]
        if not self._workflows.is_alive:
            dead.append("workflows")
        return f"not running: {', '.join(dead)}" if dead else None

    def _check_files(self) -> str | None:
        if not self._missing_files:
            return None
        return f"{self._missing_files} instances have lost their file"

    def _check_model(self) -> str | None:
        # Instances are accepted all the same: their studies wait for the model.
        trouble = self._processor.trouble
        return None if trouble is None else f"the model is not loaded: {trouble}"


def _check_rules(settings: NodeSettings) -> None:
    try:
        RuleBook(settings.rules)
    except RuleError as error:
        raise SettingsError(str(error)) from error


def _lock(path: Path) -> int:
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        is_taken = isinstance(error, BlockingIOError)
        what = "another node uses this data folder" if is_taken else error.strerror
        msg = f"node.data_dir {path.parent}: {what}"
        raise SettingsError(msg) from error
    return descriptor


def _node_id(path: Path) -> str:
    """Return who the node is; it moves with its data folder."""
    try:
        if not path.exists():
            write_whole(path, f"{uuid.uuid4()}\n".encode())
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        msg = f"{path}: this file names the node and cannot be read or made"
        raise SettingsError(msg) from error
