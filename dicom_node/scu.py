"""Call a peer: an association that ends at once when its connection does."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pydicom.uid
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.presentation import PresentationContext, build_role
from pynetdicom.timer import Timer
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from conformance.profile import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.config import DicomPeer
from dicom_node.errors import AssociationRefusedError, SettingsError
from dicom_node.tcp import acknowledge, send_at_once
from dicom_node.tls import client_context

__all__ = [
    "NO_CONTEXT_ACCEPTED",
    "KeptAnswers",
    "Link",
    "Timeouts",
    "associate",
    "has_address",
]

NO_CONTEXT_ACCEPTED = "it accepts none of the presentation contexts"
"""Why an association is refused by a peer that offers nothing of what was proposed."""

# The bytes of the file, in pieces, instead of a data set that is decoded and encoded
# again; pynetdicom has it as a setting of the process.
_config.STORE_SEND_CHUNKED_DATASET = True
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False


_PAUSE_LOOKS = 4
_PAUSE_STEP_S = 0.01
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a destination may take, in seconds."""

    connect_s: float = 10.0
    associate_s: float = 30.0
    response_s: float = 120.0
    """Some archives answer only when their own storage is done."""


class _ClosedSocket(AssociationSocket):
    """A socket that is closed, not only dropped, when nobody answers.

    pynetdicom lets a connected socket wait for ever; its thread, once inside a PDU that
    the peer does not end or does not take, hears of no timeout and of no abort.
    """

    link: Link | None = None
    """Who is told that TLS failed."""

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect; from then on each read and write ends within the network timeout."""
        super().connect(primitive)
        if self.socket is not None:
            self.socket.settimeout(self.assoc.network_timeout)
            send_at_once(self.socket)

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, fewer at the end of the connection.

        Raises
        ------
        TimeoutError
            They did not all come within the network timeout: neither does who sends
            one now and then.

        """
        patience_s = self.assoc.network_timeout
        connection = self.socket
        if connection is None or patience_s is None:
            return super().recv(nr_bytes)
        deadline = time.monotonic() + patience_s
        data = bytearray()
        try:
            while len(data) < nr_bytes:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                connection.settimeout(left_s)
                acknowledge(connection)
                piece = connection.recv(min(_READ_BYTES, nr_bytes - len(data)))
                if not piece:
                    break
                data += piece
        finally:
            connection.settimeout(patience_s)
        return data

    def _shutdown_socket(self) -> None:
        # pynetdicom logs why it could not connect, and tells nobody.
        error = sys.exc_info()[1]
        if self.link is not None and isinstance(error, ssl.SSLError):
            self.link.tls_trouble = _tls_trouble(error)
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class KeptAnswers(DIMSEServiceProvider):
    """Leaves answers to who waits for them.

    An association's thread looks for requests of the peer between ours; on a machine
    that leaves it aside in between, it would take the answer to one of ours and throw
    it away, or the empty one of `Link.close`.
    """

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message; without waiting, only a request of the peer."""
        if not block:
            with self.msg_queue.mutex:
                if not self.msg_queue.queue or _is_answer(self.msg_queue.queue[0][1]):
                    return None, None
        return super().get_msg(block)


class _SteadyTimer(Timer):
    """A timer that a step of the wall clock does not end.

    pynetdicom's looks at the time of day: a clock that is set right by some minutes
    would abort every association in use, as if its peer had been silent.
    """

    def start(self) -> None:
        """Start it anew."""
        self._start_time = time.monotonic()
        self._end_time = None

    def stop(self) -> None:
        """Stop it."""
        self._end_time = time.monotonic()

    @property
    def remaining(self) -> float:
        """How many seconds are left; 1 where it never ends."""
        if self.timeout is None:
            return 1
        if self._start_time is None:
            return self.timeout
        end = time.monotonic() if self._end_time is None else self._end_time
        return self.timeout - (end - self._start_time)


class _Entity(AE):
    """An application entity that leaves no socket behind."""

    make_dimse: Callable[[Association], DIMSEServiceProvider] = KeptAnswers
    """Makes who puts messages together."""

    link: Link | None = None
    """Who is told that TLS failed."""

    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> AssociationSocket:
        assoc.dimse = self.make_dimse(assoc)
        _keep_paused(assoc)
        # Nothing runs yet. Setting a timeout later sets that of these timers.
        assoc.dul.artim_timer = _SteadyTimer(assoc.dul.artim_timer.timeout)
        assoc.dul._idle_timer = _SteadyTimer(assoc.dul._idle_timer.timeout)
        opened = _ClosedSocket(assoc, address=address)
        opened.tls_args = tls_args
        opened.link = self.link
        return opened


def _keep_paused(association: Association) -> None:
    """Let the end of a report not say that the reactor runs on.

    pynetdicom serves N-EVENT-REPORT in a thread of its own, which takes the reactor for
    running when it ends. One that was paused meanwhile stays paused: whoever waits for
    that, as `Association.release` does, would wait for ever.
    """
    serve = association._serve_request

    def serve_and_leave(message: Any, context_id: int) -> None:
        try:
            serve(message, context_id)
        finally:
            # One that runs says so itself, a thousand times a second.
            if threading.current_thread() is not association:
                association._is_paused = True

    association._serve_request = serve_and_leave  # type: ignore[assignment]


class Link:
    """An association and whether its connection still is there."""

    association: Association

    def __init__(self) -> None:
        self.was_open = threading.Event()
        self.is_closed = threading.Event()
        self.was_aborted = threading.Event()
        """The peer sent an A-ABORT: it is there, and does not want this."""
        self.tls_trouble: str | None = None
        """Why TLS failed."""

    def receive(self, event: evt.Event) -> None:
        """Note an A-ABORT."""
        if isinstance(event.pdu, A_ABORT_RQ):
            self.was_aborted.set()

    def close(self, event: evt.Event) -> None:
        """Note that the connection is gone, and wake who waits for an answer."""
        # pynetdicom waits for an answer until its timeout, even when the connection
        # is gone: an empty answer wakes it.
        self.is_closed.set()
        event.assoc.dimse.msg_queue.put((None, None))


@contextmanager
def associate(
    contexts: list[PresentationContext],
    peer: DicomPeer,
    *,
    ae_title: str,
    timeouts: Timeouts,
    stored_classes: Sequence[str] = (),
    make_dimse: Callable[[Association], DIMSEServiceProvider] | None = None,
    on_store: Callable[[evt.Event], int] | None = None,
    on_report: Callable[[evt.Event], tuple[int, None]] | None = None,
) -> Iterator[Link]:
    """Open an association for the block, and release it after.

    Parameters
    ----------
    contexts : list of PresentationContext
        What to propose, at most 128.
    peer : DicomPeer
        Whom to call.
    ae_title : str
        Calling AE title.
    timeouts : Timeouts
        How long the peer may take.
    stored_classes : sequence of str
        SOP classes of which we are the SCP: role selection (PS3.7 D.3.3.4) asks that
        the peer stores them here on this association.
    make_dimse : callable, optional
        Makes who puts messages together, for a peer that sends large ones.
    on_store : callable, optional
        Answers each C-STORE of the peer with a status.
    on_report : callable, optional
        Answers each N-EVENT-REPORT of the peer with a status.

    Raises
    ------
    AssociationRefusedError
        The peer cannot be reached or does not accept; the message says which.

    """
    entity = _Entity(ae_title)
    entity.implementation_class_uid = pydicom.uid.UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.connection_timeout = timeouts.connect_s
    entity.acse_timeout = timeouts.associate_s
    entity.dimse_timeout = timeouts.response_s
    entity.network_timeout = timeouts.response_s
    if make_dimse is not None:
        entity.make_dimse = make_dimse
    link = entity.link = Link()
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, lambda _event: link.was_open.set()),
        (evt.EVT_CONN_CLOSE, link.close),
        (evt.EVT_PDU_RECV, link.receive),
    ]
    if on_store is not None:
        handlers.append((evt.EVT_C_STORE, on_store))
    if on_report is not None:
        handlers.append((evt.EVT_N_EVENT_REPORT, on_report))
    association = entity.associate(
        peer.host,
        peer.port,
        contexts=contexts,
        ae_title=peer.ae_title,
        ext_neg=[
            build_role(one, scu_role=False, scp_role=True) for one in stored_classes
        ],
        evt_handlers=handlers,
        tls_args=_tls_args(peer),
    )
    if not association.is_established:
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            msg = f"it rejected the association: {answer.reason_str}"
        elif association.rejected_contexts:
            msg = NO_CONTEXT_ACCEPTED
        elif link.was_open.is_set():
            msg = "it aborted the association or did not answer"
            if peer.tls is not None and not link.was_aborted.is_set():
                msg += ", or does not accept this node's certificate"
        elif link.tls_trouble is not None:
            msg = link.tls_trouble
        else:
            msg = "it cannot be reached"
        raise AssociationRefusedError(msg)
    link.association = association
    try:
        yield link
    finally:
        if not link.is_closed.is_set():
            if on_report is not None:
                _let_answers_go(association)
            association.release()


def _is_answer(message: Any) -> bool:
    # None: nothing more comes, which is an answer too.
    return getattr(message, "MessageIDBeingRespondedTo", 0) is not None


def _tls_args(peer: DicomPeer) -> tuple[ssl.SSLContext, str] | None:
    if peer.tls is None:
        return None
    try:
        # Made for each association: certificates may have been renewed.
        return client_context(peer.tls), peer.tls.server_name or peer.host
    except SettingsError as error:
        raise AssociationRefusedError(str(error)) from error


def _tls_trouble(error: ssl.SSLError) -> str:
    """Return why TLS failed, in OpenSSL's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return f"TLS failed: {(error.reason or 'it hung up').replace('_', ' ').lower()}"


def _let_answers_go(association: Association) -> None:
    """Wait until a report that is being answered is answered.

    `Association.release` takes its reactor for paused in the moment between two of
    its steps; an answer after the release request would end its thread.
    """
    association._reactor_checkpoint.clear()
    for _ in range(_PAUSE_LOOKS):
        while not (association._is_paused or association._kill):
            time.sleep(_PAUSE_STEP_S)
        time.sleep(_PAUSE_STEP_S)


def has_address(peer: DicomPeer, address: str) -> bool:
    """Whether a peer's host is, or has the name of, an IP address."""
    try:
        wanted = ipaddress.ip_address(address)
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return False
    return wanted in {ipaddress.ip_address(one[4][0]) for one in found}
