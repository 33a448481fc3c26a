"""The application entity: it listens, decides who may associate, and counts.

What it speaks is `conformance.profile`; what a caller may ask of it is
`NodeSettings.limits`; how one association goes is `acceptor`.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from conformance.profile import DICOM_APPLICATION_CONTEXT, REJECTIONS, Rejection
from dicom_node.acceptor import Acceptor
from dicom_node.config import CallerSettings, NodeSettings
from dicom_node.errors import SettingsError
from dicom_node.normalized import CommitmentHandler
from dicom_node.pdu import AssociateRequest
from dicom_node.receive import (
    InstanceLedger,
    InstanceReceiver,
    OnInstance,
    StoreAnswer,
)
from dicom_node.shares import choose_to_end
from dicom_node.spool import Spool
from dicom_node.store import InstanceOutcome
from dicom_node.transport import PduSocket

__all__ = ["DicomServer", "OnRelease", "ServerStatistics", "may_call"]

log = structlog.get_logger(__name__)

OnRelease = Callable[[frozenset[str]], None]
"""Told, when an association ends in any way, which studies it brought something of,
from the thread that brought them: each association has a thread of its own."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_BACKLOG = 256
_EXTRA_CONNECTIONS = 256
"""Connections without an association yet. Beyond it the oldest is cut of the address
that has most of them, so that those who connect and say nothing cannot keep out those
who do."""

_ACCEPT_PAUSE_S = 0.1
_STOP_STEP_S = 0.02
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
        self._accepted = self._aborted = self._bytes_received = 0
        self._rejected = dict.fromkeys(REJECTIONS, 0)
        self._instances = {str(outcome): 0 for outcome in InstanceOutcome}
        self._refused: dict[int, int] = {}
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._port = settings.node.port

    @property
    def port(self) -> int:
        """The port that the server listens on; the free one picked for 0."""
        return self._port

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
            )

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises
        ------
        SettingsError
            The address or port cannot be listened on.

        """
        node = self._settings.node
        try:
            family = socket.getaddrinfo(
                node.host, node.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0][0]
            self._listener = socket.create_server(
                (node.host, node.port),
                family=family,
                backlog=_BACKLOG,
                dualstack_ipv6=node.host == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            msg = f"cannot listen on {node.host}:{node.port}: {error.strerror}"
            raise SettingsError(msg) from error
        self._port = self._listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._accept,
            args=(self._listener,),
            name="dicom-listener",
            daemon=True,
        )
        self._thread.start()
        log.info("listening", ae_title=node.ae_title, host=node.host, port=self._port)

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop listening, let requests that are under way finish, end the rest.

        Parameters
        ----------
        grace_s : float
            How long requests may take to finish.

        """
        self._is_stopping.set()
        if self._listener is not None:
            # Closing alone does not wake a thread that waits in accept.
            _shutdown_quietly(self._listener)
        if self._thread is not None:
            self._thread.join()
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
        log.info("stopped_listening", port=self._port)

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
                self._settings.callers, request.calling_ae_title, address
            ):
                reason = "calling"
            elif self.is_stopping or is_draining or not self._make_room(address):
                reason = "limit"
            if reason is None:
                self._admitted.add(acceptor)
                self._accepted += 1
            else:
                self._rejected[reason] += 1
        tell = log.info if reason is None else log.warning
        tell(
            "association_accepted" if reason is None else "association_rejected",
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            peer_address=address,
            reason=reason,
        )
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

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while not self.is_stopping:
                try:
                    connection, address = listener.accept()
                except OSError as error:
                    if self.is_stopping:
                        return
                    # Out of file descriptors, or gone before it was accepted.
                    log.warning("accept_failed", error=error.strerror)
                    time.sleep(_ACCEPT_PAUSE_S)
                    continue
                self._open(connection, _plain_address(address[0]))

    def _open(self, connection: socket.socket, address: str) -> None:
        pdus = PduSocket(connection, pdu_timeout_s=self.limits.pdu_timeout_s)
        acceptor = Acceptor(self, pdus, address=address)
        thread = threading.Thread(
            target=self._run, args=(acceptor,), name="dicom-association", daemon=True
        )
        with self._lock:
            self._acceptors[acceptor] = thread
            self._cut_oldest_silent()
        try:
            thread.start()
        except RuntimeError:
            log.warning("no_thread_for_connection")
            self._forget(acceptor)
            pdus.close(linger_s=0.0)

    def _run(self, acceptor: Acceptor) -> None:
        try:
            acceptor.run()
        finally:
            self._forget(acceptor)

    def _forget(self, acceptor: Acceptor) -> None:
        with self._lock:
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
        # Who is inside a request but gets none done is no better than who waits.
        yields = choose_to_end(
            self._admitted,
            lambda one: one.address,
            rank=lambda one: (not one.is_idle, one.answered_at),
            newcomer=address,
        )
        if yields is None:
            return False
        self._admitted.discard(yields)
        yields.pdus.cut()
        log.warning("association_displaced", peer_address=yields.address)
        return True


def may_call(
    callers: Sequence[CallerSettings], calling_ae_title: str, address: str
) -> bool:
    """Return whether a caller is configured.

    Parameters
    ----------
    callers : sequence of CallerSettings
        Who may call; empty: every AE title from this machine.
    calling_ae_title : str
        What the caller says; empty where it is no AE title.
    address : str
        Where the connection comes from.

    """
    where = _parse_address(address)
    if where is None or not calling_ae_title:
        return False
    if not callers:
        return where.is_loopback
    return any(
        caller.ae_title == calling_ae_title
        and where in ipaddress.ip_network(caller.address, strict=False)
        for caller in callers
    )


def _parse_address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _plain_address(text: str) -> str:
    """Return an address without its zone, IPv4 inside IPv6 as IPv4."""
    address = _parse_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _shutdown_quietly(listener: socket.socket) -> None:
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It was not listening any more.
