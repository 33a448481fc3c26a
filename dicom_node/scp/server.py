"""The application entity: it listens, decides who may associate, and counts.

What it speaks is `conformance.profile`; what a caller may ask of it is
`NodeSettings.limits`; how one association goes is `acceptor`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from conformance.profile import DICOM_APPLICATION_CONTEXT, REJECTIONS, Rejection
from dicom_node.audit import EventKind
from dicom_node.config import NodeSettings
from dicom_node.errors import PeerTooSlowError, TlsError, TransportError
from dicom_node.receive import (
    InstanceLedger,
    InstanceReceiver,
    OnInstance,
    StoreAnswer,
)
from dicom_node.scp.acceptor import Acceptor
from dicom_node.scp.admission import Refusal, Refusals, may_call
from dicom_node.scp.doors import Door
from dicom_node.scp.normalized import CommitmentHandler
from dicom_node.scp.pdu import AssociateRequest
from dicom_node.scp.transport import PduSocket
from dicom_node.shares import choose_to_end
from dicom_node.spool import Spool
from dicom_node.store import InstanceOutcome
from dicom_node.tls import ServerFiles, ServerTls, fingerprint

__all__ = ["DicomServer", "OnRelease", "ServerStatistics"]

log = structlog.get_logger(__name__)

OnRelease = Callable[[frozenset[str]], None]
"""Told, when an association ends in any way, which studies it brought something of,
from the thread that brought them: each association has a thread of its own."""

_EXTRA_CONNECTIONS = 256
"""Connections without an association yet. Beyond it the oldest is cut of the address
that has most of them, so that those who connect and say nothing cannot keep out those
who do."""

_TRANSIENT = "limit"
"""The one reason of a rejection that says nothing against the caller."""

_STOP_STEP_S = 0.02
_TLS_LINGER_S = 0.1
_CUT_S = 5.0
"""How long threads have to notice that their connection was cut."""


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """Numbers since the start, and what is open now."""

    open_connections: int
    open_associations: int
    associations_accepted: int
    associations_aborted: int
    associations_rejected: Mapping[str, int]
    """By reason: the keys of `conformance.profile.REJECTIONS`."""
    instances: Mapping[str, int]
    """Acknowledged, by outcome: new, duplicate, conflict."""
    instances_refused: Mapping[int, int]
    """By DIMSE status."""
    bytes_received: int
    """Of the associations that have ended and those that are open."""
    tls_failed: int = 0
    """Handshakes that did not succeed."""
    turned_away: int = 0
    """Connections of addresses that were refused too often."""


class DicomServer:
    """The node's Storage and Verification SCP.

    Parameters
    ----------
    settings : NodeSettings
        Address, AE title, callers and limits.
    spool : Spool
        Keeps the bytes.
    ledger : InstanceLedger
        Keeps the record; an instance is acknowledged when it has it.
    on_instance : OnInstance, optional
        Told about each durable instance.
    on_release : OnRelease, optional
        Told when an association has ended. Both are called from its thread.
    commitments : CommitmentHandler, optional
        Keeps requests for storage commitment and reports of it.
    is_draining : callable, optional
        Returns whether new associations are refused until further notice.

    Raises
    ------
    SettingsError
        The certificates cannot be used.

    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        spool: Spool,
        ledger: InstanceLedger,
        on_instance: OnInstance | None = None,
        on_release: OnRelease | None = None,
        commitments: CommitmentHandler | None = None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_draining = is_draining
        self.limits = settings.limits
        self.commitments = commitments
        self.receiver = InstanceReceiver(spool, ledger, on_instance=on_instance)
        self._settings = settings
        self._on_release = on_release
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._acceptors: dict[Acceptor, threading.Thread] = {}
        self._admitted: set[Acceptor] = set()
        self._accepted = self._aborted = self._bytes_received = self._tls_failed = 0
        self._rejected = dict.fromkeys(REJECTIONS, 0)
        self._instances = {str(outcome): 0 for outcome in InstanceOutcome}
        self._refused: dict[int, int] = {}
        self.refusals = Refusals(settings.limits.refusals_per_minute)
        """Who was not let in, for the audit trail."""
        node, secure = settings.node, settings.dicom_tls
        files = ServerFiles.of(secure)
        self.tls = None if files is None else ServerTls(files)
        """How TLS is spoken; None: it is not."""
        self._doors: list[Door] = []
        if node.plain:
            self._doors.append(Door(node.host, node.port, on_connection=self._open))
        if self.tls is not None:
            self._doors.append(
                Door(node.host, secure.port, on_connection=self._open, tls=self.tls)
            )

    @property
    def port(self) -> int:
        """The port listened on, the plain one if there is one; for 0, the free one."""
        return self._doors[0].port

    @property
    def plain_port(self) -> int | None:
        """The port where DICOM is spoken without TLS; None: nowhere."""
        return next((one.port for one in self._doors if one.tls is None), None)

    @property
    def tls_port(self) -> int | None:
        """The port where TLS is spoken; None: nowhere."""
        return next((one.port for one in self._doors if one.tls is not None), None)

    @property
    def trouble(self) -> str | None:
        """Which port nobody listens on any more, in plain words, or None."""
        shut = [str(one.port) for one in self._doors if not one.is_open]
        return f"nobody listens on port {', '.join(shut)}" if shut else None

    @property
    def is_stopping(self) -> bool:
        """Whether idle associations are to end."""
        return self._is_stopping.is_set()

    @property
    def statistics(self) -> ServerStatistics:
        """A snapshot of the numbers."""
        with self._lock:
            return ServerStatistics(
                open_connections=len(self._acceptors),
                open_associations=len(self._admitted),
                associations_accepted=self._accepted,
                associations_aborted=self._aborted,
                associations_rejected=dict(self._rejected),
                instances=dict(self._instances),
                instances_refused=dict(self._refused),
                bytes_received=self._bytes_received
                + sum(one.pdus.bytes_received for one in self._acceptors),
                tls_failed=self._tls_failed,
                turned_away=self.refusals.turned_away,
            )

    def start(self) -> None:
        """Listen, on each port in a thread of its own.

        Raises
        ------
        SettingsError
            An address or port cannot be listened on.

        """
        try:
            for door in self._doors:
                door.open()
        except BaseException:
            # Who came in by one of them would speak to a node that is not there.
            for door in self._doors:
                door.close()
            raise
        for door in self._doors:
            log.info(
                "listening",
                ae_title=self._settings.node.ae_title,
                host=self._settings.node.host,
                port=door.port,
                tls=door.tls is not None,
            )

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop listening, let requests that are under way finish, end the rest.

        Parameters
        ----------
        grace_s : float
            How long requests may take to finish.

        """
        self._is_stopping.set()
        for door in self._doors:
            door.close()
        deadline = time.monotonic() + grace_s
        while (left := self._open_acceptors()) and time.monotonic() < deadline:
            for acceptor in left:
                if acceptor.is_idle or not acceptor.is_admitted:
                    acceptor.pdus.interrupt()
            time.sleep(_STOP_STEP_S)
        for acceptor in self._open_acceptors():
            acceptor.pdus.cut()
        with self._lock:
            threads = list(self._acceptors.values())
        deadline = time.monotonic() + _CUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        log.info("stopped_listening", port=self.port)

    def admit(
        self, acceptor: Acceptor, request: AssociateRequest, address: str
    ) -> Rejection | None:
        """Let an association in, or say why not."""
        node = self._settings.node
        reason = None
        is_draining = self._is_draining()
        with self._lock:
            if not request.protocol_version & 1:
                reason = "protocol_version"
            elif request.application_context != DICOM_APPLICATION_CONTEXT:
                reason = "application_context"
            elif request.called_ae_title != node.ae_title:
                reason = "called"
            elif not may_call(
                self._settings.callers,
                request.calling_ae_title,
                address,
                certificate_sha256=acceptor.certificate_sha256,
            ):
                reason = "calling"
            elif self.is_stopping or is_draining or not self._make_room(address):
                reason = _TRANSIENT
            if reason is None:
                self._admitted.add(acceptor)
                self._accepted += 1
            else:
                self._rejected[reason] += 1
        titles = {
            "calling_ae_title": request.calling_ae_title,
            "called_ae_title": request.called_ae_title,
        }
        is_told = True
        if reason is None:
            self.refusals.welcome(address)
        elif reason != _TRANSIENT:
            kind = EventKind.ASSOCIATION_REFUSED
            is_told = self.refusals.note(Refusal(kind, address, reason, **titles))
        if is_told:
            tell = log.info if reason is None else log.warning
            event = "accepted" if reason is None else "rejected"
            tell(f"association_{event}", **titles, peer_address=address, reason=reason)
        return None if reason is None else REJECTIONS[reason]

    def answered(self, answer: StoreAnswer) -> None:
        """Count an answer to a C-STORE."""
        with self._lock:
            if answer.outcome is not None:
                self._instances[str(answer.outcome)] += 1
            else:
                status = int(answer.status)
                self._refused[status] = self._refused.get(status, 0) + 1

    def ended(self, acceptor: Acceptor, *, is_aborted: bool) -> None:
        """Count the end of an association and tell which studies it brought."""
        self.refusals.welcome(acceptor.address)
        with self._lock:
            self._admitted.discard(acceptor)
            self._aborted += is_aborted
        if self._on_release is not None:
            try:
                self._on_release(frozenset(acceptor.study_instance_uids))
            except Exception as error:  # noqa: BLE001 - nobody waits for the answer
                # No traceback: its text may quote a data set.
                log.error(  # noqa: TRY400
                    "release_callback_failed", error=type(error).__name__
                )

    def _open_acceptors(self) -> list[Acceptor]:
        with self._lock:
            return list(self._acceptors)

    def _open(
        self, connection: socket.socket, address: str, tls: ServerTls | None
    ) -> None:
        if not self._serves(address) and self.refusals.turns_away(address):
            connection.close()
            return
        pdus = PduSocket(connection, pdu_timeout_s=self.limits.pdu_timeout_s)
        acceptor = Acceptor(self, pdus, address=address)
        thread = threading.Thread(
            target=self._run,
            args=(acceptor, tls),
            name="dicom-association",
            daemon=True,
        )
        with self._lock:
            self._acceptors[acceptor] = thread
            self._cut_oldest_silent()
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            log.warning("no_thread_for_connection")
            self._forget(acceptor)
            pdus.close(linger_s=0.0)

    def _serves(self, address: str) -> bool:
        """Whether an association of an address is open."""
        with self._lock:
            return any(one.address == address for one in self._admitted)

    def _run(self, acceptor: Acceptor, tls: ServerTls | None) -> None:
        try:
            if tls is None or self._secure(acceptor, tls):
                acceptor.run()
        finally:
            self._forget(acceptor)

    def _secure(self, acceptor: Acceptor, tls: ServerTls) -> bool:
        """Begin TLS; False: the peer did not manage, and its connection is closed."""
        try:
            shown = acceptor.pdus.secure(tls.context())
        except TransportError as error:
            acceptor.pdus.close(linger_s=_TLS_LINGER_S)
            is_told = True
            if isinstance(error, TlsError):
                reason = str(error)
                is_told = self.refusals.note(
                    Refusal(EventKind.TLS_FAILED, acceptor.address, reason)
                )
            elif isinstance(error, PeerTooSlowError):
                reason = "the handshake took too long"
            else:
                return False  # It hung up before it had said anything.
            with self._lock:
                self._tls_failed += 1
            if is_told:
                log.warning("tls_failed", peer_address=acceptor.address, reason=reason)
            return False
        if shown is not None:
            acceptor.certificate_sha256 = fingerprint(shown)
        return True

    def _forget(self, acceptor: Acceptor) -> None:
        with self._lock:
            self._admitted.discard(acceptor)
            if self._acceptors.pop(acceptor, None) is not None:
                self._bytes_received += acceptor.pdus.bytes_received

    def _cut_oldest_silent(self) -> None:
        live = [one for one in self._acceptors if not one.pdus.is_cut]
        if len(live) <= self.limits.max_associations + _EXTRA_CONNECTIONS:
            return
        oldest = choose_to_end(
            (one for one in live if one not in self._admitted),
            lambda one: one.address,
            rank=lambda one: one.answered_at,
        )
        if oldest is not None:
            oldest.pdus.cut()

    def _make_room(self, address: str) -> bool:
        """Return whether one more may associate; who holds most may have to yield."""
        if len(self._admitted) < self.limits.max_associations:
            return True
        # Who is in a request but brings nothing is no better than who waits.
        yields = choose_to_end(
            self._admitted,
            lambda one: one.address,
            rank=lambda one: (not one.is_idle, not one.is_slow, one.answered_at),
            newcomer=address,
        )
        if yields is None or not (yields.is_idle or yields.is_slow):
            return False
        self._admitted.discard(yields)
        yields.pdus.cut()
        log.warning("association_displaced", peer_address=yields.address)
        return True
