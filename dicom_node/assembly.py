"""When is a study complete: images have stopped coming, or a person says so.

DICOM has no message for "that was all". A study is complete when nothing of it came
for the quiet time and no association that brought some of it is open, or when it was
open for long without bringing more: a router may keep one open for ever. A request
(`dicom-node requeue`) completes it at once. An image that comes later makes a new
version, whose results supersede those before it; so does a report that comes later.
A study without a report is held for one where the settings say so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from dicom_node.config import ReportSettings
from dicom_node.errors import StoreError
from dicom_node.identity import content_version
from dicom_node.records import ReceivedInstance
from dicom_node.reports import REPORT_SOP_CLASSES
from dicom_node.store import CollectingStudy, InstanceOutcome, Store, VersionKey

__all__ = [
    "RELEASE_SETTLE_S",
    "Assembler",
    "AssemblerHooks",
    "Clock",
    "open_association_limit_s",
    "system_clock",
]

RELEASE_SETTLE_S = 1.0
"""A study waits this long after the release of the last association that brought some
of it: senders that open one association per image open the next within this time."""

Clock = Callable[[], datetime]
"""Tells the moment, aware."""

_IDLE_S = 1.0
"""How often it is looked whether a study was asked for while none is on its way."""

_SETTLE = timedelta(seconds=RELEASE_SETTLE_S)

_log = structlog.get_logger(__name__)


class AssemblerHooks(Protocol):
    """Who acts on what the assembler finds."""

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        """Put a version to work; doing so twice must change nothing.

        Parameters
        ----------
        key : VersionKey
            The version.
        is_requested : bool
            A person asks for it: no rule keeps it out or back.

        """

    def study_requested(self, study: CollectingStudy) -> None:
        """Put to work at once what a study still has to do: process, deliver."""


def system_clock() -> datetime:
    """Return the moment by the system's clock."""
    return datetime.now(UTC)


def open_association_limit_s(quiet_time_s: float) -> float:
    """Return how long an open association holds a study after its last instance.

    Ten quiet times, at least a minute, in seconds: the longest pause within a study
    that is not worth a version of its own.
    """
    return max(60.0, 10.0 * quiet_time_s)


class Assembler:
    """Watches studies grow and opens a version when they have stopped.

    Everything it must not forget is in the store; which associations are open is
    known by the process that has them, and they end with it.

    Parameters
    ----------
    store : Store
        Where instances are recorded.
    hooks : AssemblerHooks
        Who is told.
    quiet_time_s : float
        Seconds without a new instance after which a study is complete.
    reports : ReportSettings, optional
        Which reports count, and how long a study without one waits for it.
    clock : Clock
        The wall clock: it goes on while the node is down.
    on_first : callable, optional
        Told once, when a study is on its way: there will be work.
    association_of : callable
        Names the association that the calling thread serves; each has a thread of
        its own, so the thread is the name.

    """

    def __init__(
        self,
        store: Store,
        hooks: AssemblerHooks,
        *,
        quiet_time_s: float,
        reports: ReportSettings | None = None,
        clock: Clock = system_clock,
        on_first: Callable[[], None] | None = None,
        association_of: Callable[[], Hashable] = threading.get_ident,
    ) -> None:
        self._store = store
        self._hooks = hooks
        self._quiet_time = timedelta(seconds=quiet_time_s)
        self._reports = reports or ReportSettings()
        self._open_limit = timedelta(seconds=open_association_limit_s(quiet_time_s))
        self._clock = clock
        self._on_first = on_first
        self._lock = threading.Lock()
        self._association_of = association_of
        self._open: dict[Hashable, set[str]] = {}
        self._released_at: dict[str, datetime] = {}
        self._untold: list[tuple[VersionKey, bool]] = []
        self._wake = threading.Event()
        self._is_idle = False
        self._is_stopping = threading.Event()

    def record_instance(self, instance: ReceivedInstance) -> InstanceOutcome:
        """Record an instance and note which association brought it.

        Raises
        ------
        StoreError
            It is not recorded and must not be acknowledged.

        """
        # Before the record: the study must not seem idle between the two.
        if not instance.is_own_result:
            self.hold(instance.study_instance_uid)
        return self._store.record_instance(instance)

    def hold(self, study_instance_uid: str) -> None:
        """Note that the calling thread's association brings, or asks for, a study."""
        with self._lock:
            studies = self._open.setdefault(self._association_of(), set())
            studies.add(study_instance_uid)
            if self._is_idle:
                self._is_idle = False
                self._wake.set()

    def association_released(self, _studies: frozenset[str] = frozenset()) -> None:
        """Note that the calling thread's association ended, in whatever way."""
        with self._lock:
            now = self._clock()
            for study_instance_uid in self._open.pop(self._association_of(), ()):
                self._released_at[study_instance_uid] = now
        self._wake.set()

    def evaluate(self) -> tuple[VersionKey, ...]:
        """Open a version of every study that is complete and put it to work.

        Returns
        -------
        tuple of VersionKey
            The versions that were opened by this call.

        Raises
        ------
        StoreError
            The database could not answer; the next call does what this one did not.

        """
        now = self._clock()
        opened = []
        with self._lock:
            self._released_at = {
                uid: at
                for uid, at in self._released_at.items()
                if abs(now - at) < _SETTLE
            }
        collecting = self._store.collecting_studies()
        with self._lock:
            self._is_idle = not collecting and not self._open
        if collecting and self._on_first is not None:
            tell, self._on_first = self._on_first, None
            tell()
        complete = [study for study in collecting if self._is_complete(study, now)]
        held = self._held_for_report(complete, now)
        for study in complete:
            if study.study_id in held:
                continue
            if study.is_forced:
                self._hooks.study_requested(study)
            key = self._store.open_version(
                study.study_id,
                now=now,
                version_of=content_version,
                counts_preliminary=self._reports.preliminary,
            )
            if key is not None:
                opened.append(key)
                self._untold.append((key, study.is_forced))
                _log.info(
                    "study_ready",
                    study_instance_uid=key.study_instance_uid,
                    is_forced=study.is_forced,
                )
            elif study.is_forced:
                self._store.clear_request(study.study_id)
        while self._untold:
            key, is_requested = self._untold[0]
            try:
                self._hooks.version_ready(key, is_requested=is_requested)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 - one version must not hold the others
                _log.exception(
                    "version_not_queued", study_instance_uid=key.study_instance_uid
                )
            del self._untold[0]
        return tuple(opened)

    def stop(self) -> None:
        """Let `run` return."""
        self._is_stopping.set()
        self._wake.set()

    def run(self, *, interval_s: float = 0.25) -> None:
        """Evaluate until `stop`; a released association is looked at at once.

        While nothing is on its way it is looked less often.
        """
        while not self._is_stopping.is_set():
            try:
                self.evaluate()
            except StoreError as error:
                _log.error("assembly_waits", reason=str(error))
            except Exception:  # noqa: BLE001 - a door: one error must not end the rounds
                # Its text may quote a data set: `audit` writes class and place.
                _log.exception("assembly_failed")
            self._wake.wait(_IDLE_S if self._is_idle else interval_s)
            self._wake.clear()

    def _is_complete(self, study: CollectingStudy, now: datetime) -> bool:
        if study.is_forced:
            return True
        # A clock that was set back must not hold a study until it catches up.
        idle = abs(now - study.last_received_at)
        if idle < self._quiet_time:
            return False
        uid = study.study_instance_uid
        with self._lock:
            is_held = idle < self._open_limit and any(
                uid in studies for studies in self._open.values()
            )
            return not is_held and uid not in self._released_at

    def _held_for_report(
        self, complete: Iterable[CollectingStudy], now: datetime
    ) -> set[int]:
        """Return which complete studies still wait for a report."""
        patience = self._quiet_time + timedelta(seconds=self._reports.hold_s)
        early = {
            study.study_id
            for study in complete
            if not study.is_forced and abs(now - study.last_received_at) < patience
        }
        if not self._reports.hold_s or not early:
            return set()
        return early - self._store.reports.studies_with_report(
            early,
            document_classes=REPORT_SOP_CLASSES,
            counts_preliminary=self._reports.preliminary,
        )
