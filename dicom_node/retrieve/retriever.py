"""Complete a study before it is processed: ask each archive for what is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from dicom_node.config import ArchiveSettings, NodeSettings
from dicom_node.errors import NodeError, RetrieveError, StoreError
from dicom_node.http_peer import http_client
from dicom_node.receive import InstanceReceiver
from dicom_node.retrieve.archive import Archive, Deadline, FoundStudy
from dicom_node.retrieve.dimse import DimseArchive
from dicom_node.retrieve.orders import choose_prior, make_orders
from dicom_node.retrieve.plan import has_same_patient
from dicom_node.retrieve.storing import Arrivals
from dicom_node.retrieve.web import WebArchive
from dicom_node.store import Retrieval, Store, VersionKey

__all__ = ["ArchiveRetriever", "Retriever"]

_AWAY_S = 60.0
"""An archive that did not answer is not asked again for so long: the studies that
arrive meanwhile would each wait for it."""

log = structlog.get_logger(__name__)


class Retriever(Protocol):
    """Who completes a study before it is processed."""

    def must_wait(self, key: VersionKey, then: Callable[[], None]) -> bool:
        """Return whether a version must wait; ``then`` is called when it need not.

        It is not called for a version that gives way to a newer one.
        """


@dataclass
class _Tally:
    """What became of one archive's orders."""

    asked: int = 0
    arrived: int = 0
    missing: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def add_reason(self, reason: str) -> None:
        if reason and reason not in self.reasons:
            self.reasons += (reason,)


class ArchiveRetriever:
    """Asks the configured archives for what a study lacks.

    Parameters
    ----------
    settings : NodeSettings
        Archives, AE title and limits.
    store : Store
        What is here, and what was asked for before.
    receiver : InstanceReceiver
        Makes durable what arrives on our own association, or over HTTP.
    hold : callable
        Told, in the thread that asks, of a study that is not whole before `release`.
    release : callable
        Told, in that thread, when the archives have sent what they will.
    clock : callable
        The wall clock.
    monotonic : callable
        A clock that never goes back, in seconds.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        receiver: InstanceReceiver,
        hold: Callable[[str], None],
        release: Callable[[], None],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._receiver = receiver
        self._hold = hold
        self._release = release
        self._clock = clock
        self._monotonic = monotonic
        self._away_until: dict[str, float] = {}
        self._open: set[Archive] = set()
        self._lock = threading.Lock()
        self._is_stopping = False

    @property
    def archives(self) -> tuple[str, ...]:
        """Names of the archives that are asked."""
        return tuple(one.name for one in self._settings.archives)

    def stop(self) -> None:
        """End what is being fetched; what arrived is kept, the rest is asked again."""
        with self._lock:
            self._is_stopping = True
            live = list(self._open)
        for one in live:
            one.close()

    def complete(self, key: VersionKey) -> int:
        """Ask every archive that was not yet asked for this run of a version.

        Parameters
        ----------
        key : VersionKey
            The version that is to be processed.

        Returns
        -------
        int
            New instances of this very study; with any, a newer version comes.

        Raises
        ------
        StoreError
            The database could not answer: what was not recorded is asked again.

        """
        retrievals = self._store.retrievals
        uid = key.study_instance_uid
        answered = retrievals.answered(key)
        before = retrievals.known(uid).sop_instance_uids
        self._hold(uid)
        try:
            for settings in self._settings.archives:
                if settings.name not in answered and not self._is_stopping:
                    self._complete_from(settings, key)
        finally:
            self._release()
        return len(retrievals.known(uid).sop_instance_uids - before)

    def bring(self, study_instance_uid: str, archives: Collection[str]) -> str:
        """Fetch a whole study that somebody names.

        Parameters
        ----------
        study_instance_uid : str
            The study.
        archives : collection of str
            Names of the archives to ask.

        Returns
        -------
        str
            What went wrong on the way; empty: nothing.

        """
        tally = _Tally()
        self._hold(study_instance_uid)
        try:
            for settings in self._settings.archives:
                if settings.name in archives:
                    self._ask_with(
                        settings,
                        tally,
                        lambda archive: self._bring(archive, study_instance_uid, tally),
                    )
        finally:
            self._release()
        return "; ".join(tally.reasons)

    def _bring(self, archive: Archive, study_instance_uid: str, tally: _Tally) -> None:
        found = archive.study(study_instance_uid)
        known = self._store.retrievals.known(study_instance_uid)
        if found is None:
            tally.add_reason("it does not have the study")
        elif not has_same_patient(found, known):
            tally.add_reason("it has the study with another Patient ID: nothing taken")
        else:
            self._complete_study(archive, found, tally=tally)

    def _complete_from(self, settings: ArchiveSettings, key: VersionKey) -> None:
        tally = _Tally()
        self._ask_with(
            settings,
            tally,
            lambda archive: self._ask_for_study(archive, settings, key, tally),
        )
        if self._is_stopping:
            return  # cut off by us: the next start asks again
        retrieval = Retrieval(
            settings.name,
            tally.asked,
            tally.arrived,
            tally.missing,
            "; ".join(tally.reasons),
        )
        self._store.retrievals.record(key, retrieval, now=self._clock())
        tell = log.warning if retrieval.reason else log.info
        tell(
            "study_retrieved",
            study_instance_uid=key.study_instance_uid,
            archive=settings.name,
            asked=retrieval.asked,
            arrived=retrieval.arrived,
            reason=retrieval.reason,
        )

    def _ask_with(
        self,
        settings: ArchiveSettings,
        tally: _Tally,
        ask: Callable[[Archive], None],
    ) -> None:
        if self._monotonic() < self._away_until.get(settings.name, 0.0):
            tally.add_reason("it did not answer a moment ago and was not asked")
            return
        try:
            with self._opened(settings) as archive:
                ask(archive)
        except StoreError:
            raise
        except RetrieveError as error:
            if error.facts.get("is_away"):
                self._away_until[settings.name] = self._monotonic() + _AWAY_S
            tally.add_reason(str(error))
        except NodeError as error:
            tally.add_reason(str(error))
        except Exception as error:
            # Whatever an archive provokes. Its text may quote what the archive sent:
            # `audit` writes class and place.
            log.exception("retrieve_failed", archive=settings.name)
            tally.add_reason(f"its answer could not be read ({type(error).__name__})")

    def _ask_for_study(
        self,
        archive: Archive,
        settings: ArchiveSettings,
        key: VersionKey,
        tally: _Tally,
    ) -> None:
        uid = key.study_instance_uid
        known = self._store.retrievals.known(uid)
        found = archive.study(uid)
        if found is not None and not has_same_patient(found, known):
            tally.add_reason("it has the study with another Patient ID: nothing taken")
            return
        skipped: Collection[str] = frozenset()
        if key.run == 1:  # a person who asks again asks for all of it
            skipped = self._store.retrievals.missing(uid, archive=settings.name)
        if found is not None:
            self._complete_study(
                archive,
                found,
                tally=tally,
                skipped=skipped,
                images="series" in settings.fetch,
                reports="reports" in settings.fetch,
            )
        if "priors" in settings.fetch:
            prior = choose_prior(archive, known)
            # One that came by itself is as it was processed: it is not touched.
            if prior is not None and self._store.retrievals.expect_prior(
                prior.study_instance_uid, now=self._clock()
            ):
                with self._store.retrievals.fetching(prior.study_instance_uid):
                    self._complete_study(archive, prior, tally=tally, skipped=skipped)

    def _complete_study(
        self,
        archive: Archive,
        found: FoundStudy,
        *,
        tally: _Tally,
        skipped: Collection[str] = frozenset(),
        images: bool = True,
        reports: bool = True,
    ) -> None:
        if not (images or reports):
            return
        uid = found.study_instance_uid
        here = self._store.retrievals.known(uid).sop_instance_uids
        orders = tuple(
            make_orders(
                archive,
                uid,
                here=here,
                skipped=skipped,
                images=images,
                reports=reports,
            )
        )
        wanted = {one.sop_instance_uid for order in orders for one in order.instances}
        if not wanted:
            return
        tally.asked += len(wanted)
        try:
            tally.add_reason(archive.fetch(orders))
        finally:
            left = wanted - self._store.retrievals.known(uid).sop_instance_uids
            tally.arrived += len(wanted) - len(left)
            tally.missing += tuple(sorted(left))
        if left:
            tally.add_reason(f"{len(left)} of {len(wanted)} instances did not come")

    @contextmanager
    def _opened(self, settings: ArchiveSettings) -> Iterator[Archive]:
        deadline = Deadline(settings.timeout_s, monotonic=self._monotonic)
        arrivals = Arrivals(
            self._receiver,
            ae_title=settings.ae_title or settings.name,
            address=settings.host or "dicomweb",
            max_bytes=self._settings.limits.max_instance_bytes,
        )
        archive: DimseArchive | WebArchive
        if settings.url is not None:
            archive = WebArchive(
                http_client(
                    settings.url,
                    token_file=settings.token_file,
                    tls=settings.tls,
                    timeout_s=settings.timeout_s,
                ),
                arrivals=arrivals,
                deadline=deadline,
            )
        else:
            archive = DimseArchive(
                settings.peer,
                ae_title=self._settings.node.ae_title,
                by_move=settings.kind == "c-move",
                arrivals=arrivals,
                deadline=deadline,
            )
        with self._lock:
            if self._is_stopping:
                raise RetrieveError("the node is stopping")
            self._open.add(archive)
        try:
            yield archive
        finally:
            with self._lock:
                self._open.discard(archive)
            arrivals.abandon()
            archive.release()
