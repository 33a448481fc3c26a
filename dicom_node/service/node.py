"""The node: it starts its rooms, keeps house while they work, and stops them.

lock -> migrate -> leftovers -> listen -> durable work -> worker -> web -> reconcile

What is only needed later is imported later: a node that restarts receives within a
second, and what it received is put to work when its workflows are there.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import structlog
from prometheus_client import CollectorRegistry

from dicom_node import __version__
from dicom_node.assembly import Assembler, system_clock
from dicom_node.audit import Counters, EventKind
from dicom_node.commitment import CommitmentService
from dicom_node.config import NodeSettings
from dicom_node.errors import RuleError, SettingsError, StoreError
from dicom_node.inbox import ReportInbox
from dicom_node.leftovers import adopt_leftovers
from dicom_node.reports import DocumentReader
from dicom_node.rules import RuleBook
from dicom_node.scp import DicomServer
from dicom_node.service.claim import NodeClaim
from dicom_node.service.closing import Closing, Part
from dicom_node.service.health import (
    HealthChecks,
    database_trouble,
    destinations_warning,
    dicom_trouble,
    disk_trouble,
    disk_warning,
    model_trouble,
    pause_warning,
    work_trouble,
    worker_trouble,
)
from dicom_node.service.ports import check_ports
from dicom_node.service.rooms import (
    make_audit,
    make_guard,
    make_hl7,
)
from dicom_node.service.work import StudyWork
from dicom_node.spool import Spool
from dicom_node.store import Store
from dicom_node.store.switches import DRAINING
from dicom_node.web import HealthReport, NodeCollector

if TYPE_CHECKING:
    from dicom_node.hl7 import Hl7Listener
    from dicom_node.service.web_door import WebDoor
    from dicom_node.web.parts import NodeNumbers
    from dicom_node.workflows import StudyProcessor

__all__ = ["NodeService"]

_DRAIN_LOOK_S = 0.5
_ACCEPT_GRACE_S = 10.0
_LEAVE_GRACE_S = 2.0

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
        self._processor = processor
        self._hl7: Hl7Listener | None = None
        self._documents = DocumentReader()
        self._drains = False
        self._drain_looked_at = -_DRAIN_LOOK_S
        self._started_at = datetime.now(UTC)
        self.claim = NodeClaim(settings)
        """What makes this the one node of its folder and database."""
        self._checks = HealthChecks()
        self._closing = Closing()

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
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise

    def _start(self) -> None:
        began = time.monotonic()
        settings, closing = self._settings, self._closing
        closing.add(Part.CLAIM, self.claim.release)  # it may have been taken before
        _check_rules(settings)
        self._started_at = datetime.now(UTC)
        spool = self._spool = Spool(
            self._data_dir, min_free_bytes=settings.limits.min_free_bytes
        )
        store = self.claim.take()
        if store is None:
            raise SettingsError("the wait for another node's end was cancelled")
        closing.add(Part.STORE, store.close)
        closing.add(Part.DOCUMENTS, self._documents.close)
        self._store = store
        recovered = adopt_leftovers(spool)
        leftovers = spool.remove_leftovers()
        store.files.finish_deletions(spool.names)
        self._store.switches.set(DRAINING, False, by="start")
        self._audit = make_audit(settings, self._store)
        if self._audit is not None:
            self._audit.open()
            closing.add(Part.AUDIT, self._audit.stop)
            self._registry.register(self._audit)
        work = self._work = StudyWork(
            settings,
            store,
            closing=closing,
            registry=self._registry,
            counters=self._counters,
            processor=self._processor,
        )
        self._assembler = Assembler(
            self._store,
            work,
            quiet_time_s=settings.node.quiet_time_s,
            reports=settings.reports,
            on_first=work.expect,
        )
        self._inbox = ReportInbox(self._store, clock=system_clock)
        self._commitment = CommitmentService(
            settings,
            self._store,
            clock=system_clock,
            on_report=work.take_report,
        )
        self._server = DicomServer(
            settings,
            spool=spool,
            ledger=self._assembler,
            on_release=self._assembler.association_released,
            commitments=self._commitment,
            is_draining=self._is_draining,
        )
        check_ports(settings)
        self._server.start()
        closing.add(Part.DICOM, lambda: self._server.stop(_ACCEPT_GRACE_S))
        resumed = work.launch(self._assembler, spool)
        # After the listener: its thread loads what is heavy from its first moment on.
        work.start()
        self._register_numbers()
        self._checks.require("listeners", lambda: self._server.trouble)
        self._commitment.start()
        closing.add(Part.COMMITMENT, self._commitment.stop)
        self._watch()
        self._web = self._start_web()
        self._start_hl7()
        self._start_guard()
        work.upkeep.start()
        closing.add(Part.ROUNDS, work.upkeep.ask_to_stop)
        closing.add(Part.ASSEMBLY, self._assembler.stop)
        closing.add(Part.UPKEEP, lambda: work.upkeep.join(_ACCEPT_GRACE_S))
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
        closing.add(Part.TRAIL, self._record_stop)
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

    def _register_numbers(self) -> None:
        self._registry.register(
            NodeCollector(
                self._store,
                data_dir=self._data_dir,
                statistics=lambda: self._server.statistics,
                is_model_loaded=lambda: self._work.processor.trouble is None,
                destinations=tuple(one.name for one in self._settings.destinations),
            )
        )

    def _start_hl7(self) -> None:
        hl7 = self._hl7 = make_hl7(
            self._settings,
            self._inbox,
            counters=self._counters,
            read_pdf=self._read_pdf,
        )
        if hl7 is not None:
            hl7.start()
            self._closing.add(Part.HL7, lambda: hl7.stop(_ACCEPT_GRACE_S))
            self._checks.require("hl7", lambda: hl7.trouble)

    def _start_guard(self) -> None:
        guard = make_guard(
            self._settings,
            self._store,
            server=self._server,
            others=(self._hl7, self._web),
        )
        self._registry.register(guard)
        guard.start()
        self._closing.add(Part.GUARD, guard.stop)
        self._checks.require("certificates", lambda: guard.trouble)
        self._checks.warn("certificates", lambda: guard.warning)

    def stop(self) -> None:
        """Accept nothing more, finish what is quick, leave the rest durable."""
        log.info("node_stopping")
        self._closing.close()
        log.info("node_stopped")

    def _record_stop(self) -> None:
        try:
            self._store.record_event(EventKind.NODE_STOPPED)
        except StoreError as error:
            log.warning("stop_not_recorded", reason=str(error))

    def leave(self) -> None:
        """Refuse what is under way: another node has taken over, the process ends."""
        log.error("node_taken_over", epoch=self.claim.epoch)
        self._server.stop(_LEAVE_GRACE_S)

    def examine(self) -> HealthReport:
        """Look at everything the node needs to do its work."""
        return self._checks.examine()

    def _watch(self) -> None:
        """Say what is looked at by `examine`; what comes later adds itself."""
        limits, checks, work = self._settings.limits, self._checks, self._work
        checks.require(
            "disk",
            lambda: disk_trouble(
                self._spool, self._data_dir, min_free_bytes=limits.min_free_bytes
            ),
        )
        checks.require("database", lambda: database_trouble(self._store))
        checks.require("dicom", lambda: dicom_trouble(self._server, self._commitment))
        checks.require("worker", lambda: worker_trouble(work.upkeep, work.workflows))
        checks.require("files", lambda: work.upkeep.trouble_with_files)
        checks.require("work", lambda: work_trouble(self.claim, self._is_draining))
        checks.require("model", lambda: model_trouble(work.processor))
        if self._audit is not None:
            audit = self._audit
            checks.require("audit", lambda: audit.trouble)
        checks.warn("pause", lambda: pause_warning(self._store))
        checks.warn("retention", work.retention.warning)
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
        self._closing.add(Part.WEB, door.stop)
        return door

    def _numbers(self) -> NodeNumbers:
        from dicom_node.web.parts import NodeNumbers  # only the web asks

        numbers = self._server.statistics
        return NodeNumbers(
            started_at=self._started_at,
            model=getattr(self._work.processor, "identity", None),
            model_trouble=self._work.processor.trouble,
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
        return self._drains or self.claim.trouble is not None


def _check_rules(settings: NodeSettings) -> None:
    try:
        RuleBook(settings.rules)
    except RuleError as error:
        raise SettingsError(str(error)) from error
