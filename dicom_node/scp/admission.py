"""Who may call; and who was refused so often that they are heard no more for a while.

A refusal is told once, its repetitions as a number when the minute is over: who tries
a thousand times fills neither the log nor the audit trail. Who was let in lately is
always heard: several machines may share an address, and one of them be set up wrongly.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from dicom_node.audit import EventKind
from dicom_node.config import CallerSettings
from dicom_node.tls import fingerprint

__all__ = ["Refusal", "Refusals", "ToldRefusal", "may_call"]

log = structlog.get_logger(__name__)

_WINDOW_S = 60.0
_WELCOME_S = 600.0
"""So long after an association of it an address is still heard: devices in a hospital
call every few minutes."""

_MAX_ADDRESSES = 10_000
"""Addresses that are remembered; of more, the oldest are told and forgotten."""

_TOLD_EACH = 5
"""Different refusals of one address that are told one by one within a minute."""

_TOLD_ALL = 60
"""Of all addresses together; whatever is beyond is told as a number."""

_MAX_WAITING = 1000
"""What waits to be taken; beyond it the newest are counted together."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody was not let in.

    Attributes
    ----------
    kind : EventKind
        ``ASSOCIATION_REFUSED`` or ``TLS_FAILED``.
    address : str
        Where the connection came from.
    reason : str
        A key of `conformance.profile.REJECTIONS`, or what failed in TLS.
    calling_ae_title, called_ae_title : str
        What the caller said; empty where it came to no words.

    """

    kind: EventKind
    address: str
    reason: str
    calling_ae_title: str = ""
    called_ae_title: str = ""


@dataclass(frozen=True, slots=True)
class ToldRefusal:
    """A refusal for the audit trail.

    Attributes
    ----------
    refusal : Refusal
        What happened, of several the last.
    count : int
        How often, since it was told last.
    turned_away : int
        Connections of the address that were closed unheard meanwhile.

    """

    refusal: Refusal
    count: int
    turned_away: int = 0


@dataclass(slots=True)
class _Window:
    """A minute of one address, from its first refusal on."""

    began_s: float
    last: Refusal
    count: int = 0
    untold: int = 0
    turned_away: int = 0
    told: set[Refusal] = field(default_factory=set)


class Refusals:
    """Counts refusals by address; thread safe.

    Parameters
    ----------
    limit : int
        Refusals within a minute after which an address is turned away until that
        minute is over, unless somebody at the address was let in within the last ten
        minutes. Each IPv6 address counts for itself: a network of 64 bits (RFC 4291
        2.5.4) is all of a hospital's devices.
    now_s : callable
        A monotonic clock in seconds.

    """

    def __init__(
        self, limit: int, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.turned_away = 0
        """Connections closed unheard since the start."""
        self._limit = limit
        self._now_s = now_s
        self._lock = threading.Lock()
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._welcomed: OrderedDict[str, float] = OrderedDict()
        self._waiting: list[ToldRefusal] = []
        self._minute_s = -_WINDOW_S
        self._told_this_minute = 0

    def welcome(self, address: str) -> None:
        """Note that an association of an address is let in, or ends."""
        with self._lock:
            self._welcomed[address] = self._now_s()
            self._welcomed.move_to_end(address)
            while len(self._welcomed) > _MAX_ADDRESSES:
                self._welcomed.popitem(last=False)

    def note(self, refusal: Refusal) -> bool:
        """Count a refusal; return whether it is one of those that may be logged."""
        with self._lock:
            now = self._close_windows()
            window = self._windows.get(refusal.address)
            if window is None:
                window = self._windows[refusal.address] = _Window(now, refusal)
                while len(self._windows) > _MAX_ADDRESSES:
                    self._close(self._windows.popitem(last=False)[1])
            window.count += 1
            window.last = refusal
            if refusal not in window.told and self._may_tell(window, now):
                window.told.add(refusal)
                self._waiting.append(ToldRefusal(refusal, 1))
            else:
                window.untold += 1
            return window.count <= self._limit

    def turns_away(self, address: str) -> bool:
        """Return whether a connection is to be closed unheard, and count it if so."""
        with self._lock:
            now = self._close_windows()
            window = self._windows.get(address)
            if window is None or window.count < self._limit:
                return False
            welcomed = self._welcomed.get(address)
            if welcomed is not None and now - welcomed < _WELCOME_S:
                return False
            window.turned_away += 1
            self.turned_away += 1
            is_first = window.turned_away == 1
            refusals = window.count
        if is_first:
            log.warning(
                "address_turned_away",
                peer_address=address,
                refusals=refusals,
                for_s=_WINDOW_S,
            )
        return True

    def take(self, *, everything: bool = False) -> tuple[ToldRefusal, ...]:
        """Return what the audit trail is to be told, each once.

        Parameters
        ----------
        everything : bool
            Also of minutes that are not over, as at the end of the node.

        """
        with self._lock:
            self._close_windows()
            if everything:
                for window in self._windows.values():
                    self._close(window)
                    window.untold = window.turned_away = 0
            taken, self._waiting = self._waiting, []
            return tuple(taken)

    def put_back(self, refusals: Iterable[ToldRefusal]) -> None:
        """Take again what could not be told; it is told later, in its order."""
        with self._lock:
            self._waiting[:0] = refusals

    def _may_tell(self, window: _Window, now: float) -> bool:
        if now - self._minute_s >= _WINDOW_S:
            self._minute_s, self._told_this_minute = now, 0
        if len(window.told) >= _TOLD_EACH or self._told_this_minute >= _TOLD_ALL:
            return False
        self._told_this_minute += 1
        return True

    def _close_windows(self) -> float:
        now = self._now_s()
        while self._windows:
            window = next(iter(self._windows.values()))
            if now - window.began_s < _WINDOW_S:
                break
            self._close(self._windows.popitem(last=False)[1])
        return now

    def _close(self, window: _Window) -> None:
        if not window.untold and not window.turned_away:
            return
        told = ToldRefusal(window.last, window.untold, window.turned_away)
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(told)
            return
        newest = self._waiting[-1]
        self._waiting[-1] = ToldRefusal(
            told.refusal,
            newest.count + told.count,
            newest.turned_away + told.turned_away,
        )


def may_call(
    callers: Sequence[CallerSettings],
    calling_ae_title: str,
    address: str,
    *,
    certificate_sha256: str | None = None,
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
    certificate_sha256 : str, optional
        Fingerprint of the certificate that it showed; None: it showed none.

    """
    try:
        where = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not calling_ae_title:
        return False
    if not callers:
        return where.is_loopback
    return any(
        caller.ae_title == calling_ae_title
        and where in ipaddress.ip_network(caller.address, strict=False)
        and (
            caller.certificate_sha256 is None
            or fingerprint(caller.certificate_sha256) == certificate_sha256
        )
        for caller in callers
    )
