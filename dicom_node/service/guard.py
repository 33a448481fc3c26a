"""Looks after access: refusals reach the audit trail, certificates are seen to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dicom_node.audit import EventKind
from dicom_node.config import NodeSettings
from dicom_node.errors import SettingsError, StoreError
from dicom_node.scp.admission import Refusals
from dicom_node.store import Store
from dicom_node.tls import NamedCertificate, ServerTls, certificates_of, valid_until

__all__ = ["SOON_DAYS", "Guard"]

SOON_DAYS = 30
"""A certificate that ends sooner is told of."""

_STEP_S = 1.0
_LOOK_S = 60.0
_TELL_AGAIN = timedelta(days=1)

log = structlog.get_logger(__name__)


class Guard(Collector):
    """A thread that writes what was refused, and looks at the certificates.

    Parameters
    ----------
    settings : NodeSettings
        Whose certificates there are.
    store : Store
        Keeps the audit trail.
    refusals : Refusals
        Who was not let in.
    tls : sequence of ServerTls or None
        Servers whose certificates are renewed while they work.
    clock : callable
        Returns the time, in UTC.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        refusals: Refusals,
        tls: Sequence[ServerTls | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._refusals = refusals
        self._tls = [one for one in tls if one is not None]
        self._clock = clock
        self._certificates = certificates_of(settings)
        self._told_at: dict[str, datetime] = {}
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._is_stopping.set()
        self._thread.join()
        self._write_refusals(everything=True)

    @property
    def trouble(self) -> str | None:
        """What keeps those who call from being served, in plain words, or None.

        That is a certificate or revocation list that a port of the node works with. Of
        one that is shown to a destination, an archive or a log, `warning` tells.
        """
        broken = [one.trouble for one in self._tls if one.trouble is not None]
        wrong = [*self._ended(is_own=True), *broken, *self._unreadable(is_own=True)]
        return "; ".join(wrong) or None

    @property
    def warning(self) -> str | None:
        """What will unless somebody renews it, or keeps out the node, or None."""
        ending = [
            f"{one.use} ends on {ends:%Y-%m-%d}"
            for one, ends in self._ends()
            if self._is_soon(one, ends)
        ]
        shown = [*self._ended(is_own=False), *self._unreadable(is_own=False)]
        return "; ".join([*ending, *shown]) or None

    def collect(self) -> Iterator[Metric]:
        """Yield until when each certificate is valid, in seconds since 1970."""
        family = GaugeMetricFamily(
            "dicom_node_certificate_not_after_seconds",
            "When a certificate or revocation list ends, as Unix time.",
            labels=["use"],
        )
        for one, ends in self._ends():
            family.add_metric([one.use], ends.timestamp())
        yield family

    def _run(self) -> None:
        looks_in_s = 0.0
        while not self._is_stopping.is_set():
            try:
                self._write_refusals()
                if looks_in_s <= 0:
                    self._look()
                    looks_in_s = _LOOK_S
            except Exception:
                log.exception("guard_failed")
            looks_in_s -= _STEP_S
            self._is_stopping.wait(_STEP_S)

    def _write_refusals(self, *, everything: bool = False) -> None:
        told = self._refusals.take(everything=everything)
        for number, one in enumerate(told):
            try:
                self._store.record_event(
                    one.refusal.kind,
                    detail={
                        "peer_address": one.refusal.address,
                        "reason": one.refusal.reason,
                        "calling_ae_title": one.refusal.calling_ae_title,
                        "called_ae_title": one.refusal.called_ae_title,
                        "count": one.count,
                        "turned_away": one.turned_away,
                    },
                )
            except StoreError as error:
                # They are written when the database is back.
                self._refusals.put_back(told[number:])
                log.warning("refusals_not_recorded", reason=str(error))
                return

    def _look(self) -> None:
        for one in self._tls:
            one.context()
        now = self._clock()
        for certificate, ends in self._ends():
            last = self._told_at.get(certificate.use)
            is_due = last is None or now - last >= _TELL_AGAIN
            if not (is_due and (ends <= now or self._is_soon(certificate, ends))):
                continue
            detail = {"use": certificate.use, "not_after": ends.isoformat()}
            log.warning("certificate_expires", **detail)
            self._store.record_event(EventKind.CERTIFICATE_EXPIRES, detail=detail)
            self._told_at[certificate.use] = now

    def _is_soon(self, one: NamedCertificate, ends: datetime) -> bool:
        # A revocation list is made anew every few days: that is no news.
        days = SOON_DAYS if one.private_key is not None else 1
        return self._clock() < ends <= self._clock() + timedelta(days=days)

    def _ends(self) -> Iterator[tuple[NamedCertificate, datetime]]:
        for one in self._certificates:
            try:
                yield one, valid_until(one)
            except SettingsError:
                continue  # `trouble` or `warning` tells it.

    def _ended(self, *, is_own: bool) -> Iterator[str]:
        for one, ends in self._ends():
            if one.is_own is is_own and ends <= self._clock():
                yield f"{one.use} ended on {ends:%Y-%m-%d}"

    def _unreadable(self, *, is_own: bool) -> Iterator[str]:
        for one in self._certificates:
            if one.is_own is not is_own:
                continue
            try:
                valid_until(one)
            except SettingsError as error:
                yield str(error)
