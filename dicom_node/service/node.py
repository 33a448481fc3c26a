"""The node: it starts its rooms, keeps house while they work, and stops them.

lock -> migrate -> leftovers -> listen -> durable work -> worker -> web -> reconcile

What is only needed later is imported later: a node that restarts receives within a
second, and what it received is put to work when its workflows are there.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Self

import structlog
from prometheus_client import CollectorRegistry

from dicom_node import __version__
from dicom_node.assembly import Assembler, system_clock
from dicom_node.association import DicomServer
from dicom_node.audit import Counters, EventKind, configure_logging
from dicom_node.commitment import CommitmentService
from dicom_node.config import NodeSettings
from dicom_node.errors import RuleError, SettingsError, StoreError
from dicom_node.heap import keep_heap_small
from dicom_node.inbox import ReportInbox
from dicom_node.leftovers import adopt_leftovers
from dicom_node.private_memory import keep_memory_private
from dicom_node.reports import DocumentReader
from dicom_node.retention import Retention
from dicom_node.rules import RuleBook
from dicom_node.scratch import clear_scratch
from dicom_node.service.claim import NodeClaim
from dicom_node.service.health import (
    HealthChecks,
    database_trouble,
    destinations_warning,
    disk_trouble,
    disk_warning,
    pause_warning,
    worker_trouble,
)
from dicom_node.service.rooms import (
    make_audit,
    make_guard,
    make_hl7,
    make_job_processor,
    make_processor,
    make_remotes,
    make_retrieve_line,
    make_retriever,
    make_worklist,
)
from dicom_node.service.upkeep import Upkeep
from dicom_node.spool import Spool
from dicom_node.store import CollectingStudy, Store, VersionKey
from dicom_node.store.switches import DRAINING
from dicom_node.turns import take_short_turns
from dicom_node.web import HealthReport, NodeCollector

if TYPE_CHECKING:
    from dicom_node.commitment_messages import CommitmentReport
    from dicom_node.hl7 import Hl7Listener
    from dicom_node.service.guard import Guard
    from dicom_node.service.web_door import WebDoor
    from dicom_node.web.parts import NodeNumbers
    from dicom_node.workflows import StudyProcessor, Workflows

__all__ = ["TAKEN_OVER", "NodeService"]

_SIGNAL_LOOK_S = 1.0
"""How often the main thread looks for a signal that came just before its wait."""

_DRAIN_LOOK_S = 0.5
_STOP_GRACE_S = 5
"""Work that takes longer is left to the next start: it is durable."""

_ACCEPT_GRACE_S = 10.0
_WORK_START_S = 30.0
_LEAVE_GRACE_S = 2.0

TAKEN_OVER = 75
"""Exit code when another node has taken over, sysexits' EX_TEMPFAIL: started again,
this one waits for the other."""

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
        self._registry = CollectorRegistry()
        self._counters = Counters(self._registry)
        self._given_processor = processor
        self._has_workflows = threading.Event()
        self._hl7: Hl7Listener | None = None
        self._guard: Guard | None = None
        self._documents = DocumentReader()
        self._drains = False
        self._drain_looked_at = -_DRAIN_LOOK_S
        self._started_at = datetime.now(UTC)
        self._claim = NodeClaim(settings)
        self._checks = HealthChecks()

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
    def tls_port(self) -> int | None:
        """The port where DICOM is spoken over TLS; None: nowhere."""
        return self._server.tls_port

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
        store = self._claim.take()
        if store is None:
            raise SettingsError("the wait for another node's end was cancelled")
        self._store = store
        recovered = adopt_leftovers(spool)
        leftovers = spool.remove_leftovers()
        store.files.finish_deletions(spool.names)
        self._store.switches.set(DRAINING, False, by="start")
        self._audit = make_audit(settings, self._store)
        if self._audit is not None:
            self._audit.open()
            self._registry.register(self._audit)
        self._assembler = Assembler(
            self._store,
            _Hooks(lambda: self._workflows),
            quiet_time_s=settings.node.quiet_time_s,
            reports=settings.reports,
            on_first=self._expect_work,
        )
        self._inbox = ReportInbox(self._store, clock=system_clock)
        self._commitment = CommitmentService(
            settings,
            self._store,
            clock=system_clock,
            on_report=self._take_report,
        )
        self._server = DicomServer(
            settings,
            spool=spool,
            ledger=self._assembler,
            on_release=self._assembler.association_released,
            commitments=self._commitment,
            is_draining=self._is_draining,
        )
        self._server.start()
        try:
            resumed = self._start_work()
        except BaseException:
            self._server.stop(_LEAVE_GRACE_S)
            raise
        # After the listener: its thread loads what is heavy from its first moment on.
        self._processor.start()
        self._checks.require("listeners", lambda: self._server.trouble)
        self._commitment.start()
        if self._retrieve is not None:
            self._retrieve.start()
        if self._worklist is not None:
            self._worklist.start()
        if self._remotes is not None:
            self._remotes.start()
        self._watch()
        self._web = self._start_web()
        self._hl7 = make_hl7(
            settings, self._inbox, counters=self._counters, read_pdf=self._read_pdf
        )
        if self._hl7 is not None:
            hl7 = self._hl7
            hl7.start()
            self._checks.require("hl7", lambda: hl7.trouble)
        guard = self._guard = make_guard(
            settings, self._store, server=self._server, others=(self._hl7, self._web)
        )
        self._registry.register(guard)
        guard.start()
        self._checks.require("certificates", lambda: guard.trouble)
        self._checks.warn("certificates", lambda: guard.warning)
        self._upkeep.start()
        if self._audit is not None:
            self._audit.start()
        found = {
            "leftovers": leftovers,
            "recovered": recovered,
            **resumed,
        }
        self._store.record_event(
            EventKind.NODE_STARTED,
            detail={"version": __version__, **found},
        )
        log.info(
            "node_started",
            version=__version__,
            port=self._server.plain_port,
            tls_port=self.tls_port,
            web_port=self.web_port,
            hl7_port=self.hl7_port,
            **found,
            seconds=round(time.monotonic() - began, 2),
        )
        if (left := pause_warning(self._store)) is not None:
            log.warning("node_paused", reason=left)

    def _start_work(self) -> dict[str, int]:
        """Make ready what works on studies; return what was undone."""
        from dicom_node.workflows import Workflows, remove_unfinished

        settings, store, spool = self._settings, self._store, self._spool
        unfinished = remove_unfinished(self._data_dir, store)
        local = self._given_processor or make_processor(settings, self._counters)
        self._processor = local
        if settings.workers.enabled:
            jobs = make_job_processor(settings, store, local=local)
            self._registry.register(jobs)
            self._processor = jobs
        self._workflows = Workflows(
            settings, store, self._processor, counters=self._counters
        )
        self._remotes = make_remotes(
            settings, store, local, on_due=self._workflows.version_due
        )
        self._workflows.launch()
        retention = self._retention = Retention(
            store, spool, settings=settings.retention, clock=system_clock
        )
        self._registry.register(retention)
        self._upkeep = Upkeep(
            store,
            spool,
            assembler=self._assembler,
            workflows=self._workflows,
            retention=retention,
            began_at=self._started_at,
        )
        retriever = make_retriever(settings, store, self._assembler, spool=spool)
        self._retrieve = make_retrieve_line(retriever, store)
        if self._retrieve is not None:
            self._workflows.complete_by(self._retrieve)
        self._worklist = make_worklist(settings, store, bringer=retriever)
        resumed = self._workflows.resume()
        self._registry.register(
            NodeCollector(
                store,
                data_dir=self._data_dir,
                statistics=lambda: self._server.statistics,
                is_model_loaded=lambda: self._processor.trouble is None,
                destinations=tuple(one.name for one in settings.destinations),
            )
        )
        self._has_workflows.set()
        return {"unfinished": unfinished, **resumed}

    def _take_report(
        self, ae_title: str, peer_address: str, report: CommitmentReport
    ) -> bool:
        # A peer may report in the moment between the listener and the workflows.
        if not self._has_workflows.wait(_WORK_START_S):
            raise StoreError("the node is starting")
        return self._workflows.take_report(ae_title, peer_address, report)

    def stop(self) -> None:
        """Accept nothing more, finish what is quick, leave the rest durable."""
        log.info("node_stopping")
        self._upkeep.ask_to_stop()
        self._server.stop(_ACCEPT_GRACE_S)
        self._commitment.stop()
        if self._hl7 is not None:
            self._hl7.stop(_ACCEPT_GRACE_S)
        self._assembler.stop()
        self._upkeep.join(_ACCEPT_GRACE_S)
        if self._retrieve is not None:
            self._retrieve.stop()
        if self._worklist is not None:
            self._worklist.stop(_ACCEPT_GRACE_S)
        if self._remotes is not None:
            self._remotes.stop()
        self._workflows.stop(grace_s=_STOP_GRACE_S)
        self._processor.stop()
        if self._web is not None:
            self._web.stop()
        self._documents.close()
        if self._guard is not None:
            self._guard.stop()
        try:
            self._store.record_event(EventKind.NODE_STOPPED)
        except StoreError as error:
            log.warning("stop_not_recorded", reason=str(error))
        if self._audit is not None:
            self._audit.stop()
        self._store.close()
        self._claim.release()
        log.info("node_stopped")

    def run_forever(self) -> None:
        """Run until SIGTERM or SIGINT."""
        # An event's lock may be held by the very thread that the signal interrupts;
        # putting into this queue is safe there.
        asked: SimpleQueue[int] = SimpleQueue()

        def ask(number: int, _frame: FrameType | None) -> None:
            asked.put(number)

        keep_memory_private()
        keep_heap_small()
        take_short_turns()
        configure_logging(level=self._settings.node.log_level)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)
        Spool(self._data_dir, min_free_bytes=0)  # makes the folders
        if self._claim.take(is_cancelled=lambda: not asked.empty()) is not None:
            clear_scratch(self._data_dir)
            self.start()
            # A signal that comes just before a wait does not end it: look now and then.
            while not _is_asked(asked):
                if self._claim.is_taken_over:
                    self._leave()
            self.stop()
        # Everything is durable and closed. A library's thread that waits for a peer,
        # the model or its own queue would hold the process.
        logging.shutdown()
        os._exit(0)

    def _leave(self) -> NoReturn:
        """End at once, with what is under way refused: another node has taken over."""
        log.error("node_taken_over", epoch=self._claim.epoch)
        self._server.stop(_LEAVE_GRACE_S)
        logging.shutdown()
        os._exit(TAKEN_OVER)

    def examine(self) -> HealthReport:
        """Look at everything the node needs to do its work."""
        return self._checks.examine()

    def _watch(self) -> None:
        """Say what is looked at by `examine`; what comes later adds itself."""
        limits, checks = self._settings.limits, self._checks
        checks.require(
            "disk",
            lambda: disk_trouble(
                self._spool, self._data_dir, min_free_bytes=limits.min_free_bytes
            ),
        )
        checks.require("database", lambda: database_trouble(self._store))
        checks.require("dicom", self._check_dicom)
        checks.require("worker", lambda: worker_trouble(self._upkeep, self._workflows))
        checks.require("files", lambda: self._upkeep.trouble_with_files)
        checks.require("work", self._check_work)
        checks.require("model", self._check_model)
        if self._audit is not None:
            audit = self._audit
            checks.require("audit", lambda: audit.trouble)
        checks.warn("pause", lambda: pause_warning(self._store))
        checks.warn("retention", self._retention.warning)
        checks.warn(
            "disk",
            lambda: disk_warning(self._data_dir, min_free_bytes=limits.min_free_bytes),
        )
        checks.warn(
            "destinations",
            lambda: destinations_warning(self._store, now=system_clock()),
        )

    def _read_pdf(self, data: bytes) -> str:
        return self._documents.read_bytes(data, kind="pdf")

    def _start_web(self) -> WebDoor | None:
        if not self._settings.web.enabled:
            return None
        # The page's libraries take as long to load as all the rest: studies are
        # received meanwhile.
        from dicom_node.service.web_door import WebDoor

        door = WebDoor(
            self._settings,
            self._store,
            self._assembler,
            spool=self._spool,
            is_draining=self._is_draining,
            examine=self.examine,
            registry=self._registry,
            numbers=self._numbers,
            counters=self._counters,
            read_pdf=self._read_pdf,
        )
        door.start()
        return door

    def _numbers(self) -> NodeNumbers:
        from dicom_node.web.parts import NodeNumbers  # only the web asks

        numbers = self._server.statistics
        return NodeNumbers(
            started_at=self._started_at,
            model=getattr(self._processor, "identity", None),
            model_trouble=self._processor.trouble,
            associations_open=numbers.open_associations,
            associations_accepted=numbers.associations_accepted,
            associations_rejected=sum(numbers.associations_rejected.values()),
        )

    def _is_draining(self) -> bool:
        # Asked for each association: a look at the database now and then is enough.
        now = time.monotonic()
        if now - self._drain_looked_at >= _DRAIN_LOOK_S:
            self._drain_looked_at = now
            try:
                self._drains = bool(self._store.switches.get(DRAINING))
            except StoreError:
                return self._drains  # who sends is told that the database is away
        return self._drains or self._claim.trouble is not None

    def _expect_work(self) -> None:
        from dicom_node.workflows.processing import Expecting

        if isinstance(self._processor, Expecting):
            self._processor.expect()

    def _check_work(self) -> str | None:
        if self._claim.trouble is not None:
            return self._claim.trouble
        if self._is_draining():
            return "it drains: nothing new is accepted"
        return None

    def _check_dicom(self) -> str | None:
        if self._server.is_stopping:
            return "it does not listen"
        return self._commitment.trouble

    def _check_model(self) -> str | None:
        # Instances are accepted all the same: their studies wait for the model.
        trouble = self._processor.trouble
        return None if trouble is None else f"the model is not loaded: {trouble}"


class _Hooks:
    """Passes on what the assembler finds to workflows that are made after it."""

    def __init__(self, workflows: Callable[[], Workflows]) -> None:
        self._workflows = workflows

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        """Put a version to work."""
        self._workflows().version_ready(key, is_requested=is_requested)

    def study_requested(self, study: CollectingStudy) -> None:
        """Put to work at once what a study still has to do."""
        self._workflows().study_requested(study)


def _is_asked(asked: SimpleQueue[int]) -> bool:
    try:
        asked.get(timeout=_SIGNAL_LOOK_S)
    except Empty:
        return False
    return True


def _check_rules(settings: NodeSettings) -> None:
    try:
        RuleBook(settings.rules)
    except RuleError as error:
        raise SettingsError(str(error)) from error
