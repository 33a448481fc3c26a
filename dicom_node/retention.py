"""Deletes what is done with, by age and by space; never what is still to be done.

Rows are marked first, in a transaction that makes sure that nobody waits for the study;
then the files go that no row names. A crash between the two leaves files that the next
start deletes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dicom_node.store.removable import StudyPart
from dicom_node.store.removed_files import RemovedFiles
from dicom_node.store.retention import Candidate, RemovalRule
from dicom_node.wording import counted

if TYPE_CHECKING:
    from dicom_node.assembly import Clock
    from dicom_node.config import RetentionSettings
    from dicom_node.spool import Spool
    from dicom_node.store import Store

__all__ = ["Due", "Retention"]

_AT_ONCE = 500
"""Studies of a rule that a round looks at; the next round goes on."""

_EVENTS_AT_ONCE = 1000
_CACHE_AT_ONCE = 500
_BOTH = frozenset(StudyPart)
_Term = tuple[str, frozenset[StudyPart]]
"""Why something goes by its age, and what: each has days of its own."""
_WAITING: _Term = ("waiting reports", frozenset())
_WATER_MARK = "water mark"
_PAUSE_ROUNDS = 10
"""For which nothing is deleted for the disk after a round that freed none of it."""
_LOOKS_IN_A_TERM = 24
_LOOK_AGAIN = timedelta(hours=1)
"""What goes by its age is looked for again so long after nothing was due, and more
often where its term is short: each look passes all studies that were emptied before."""
_COUNT_AGAIN_ROUNDS = 10
"""The size of all files is asked for only so often where nothing depends on it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """A study of which something is to go, and why."""

    candidate: Candidate
    rule: RemovalRule


class Retention(Collector):
    """Keeps the data folder within its bounds.

    Parameters
    ----------
    store : Store
        What was received, made and delivered.
    spool : Spool
        Where the files lie.
    settings : RetentionSettings
        What goes when.
    clock : Clock
        The wall clock.

    Attributes
    ----------
    removed_studies, removed_bytes : int
        What was deleted since the start.
    kept_bytes : int
        Images and results that were kept when they were last counted.

    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        *,
        settings: RetentionSettings,
        clock: Clock,
    ) -> None:
        self.removed_studies = 0
        self.removed_bytes = 0
        self.kept_bytes = 0
        self._store = store
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._unfinished: set[int] = set()
        self._rounds = 0
        self._pause = 0
        """Rounds until it is tried again to free the disk."""
        self._is_cache_clean = False
        self._nothing_due: dict[_Term, datetime] = {}
        """When nothing was due by its age, or nothing any more."""
        self._held: set[int] = set()
        """Studies that the last round was to delete, and somebody waits for."""
        self._warning: str | None = None

    def run(self) -> int:
        """Delete what is due, some at a time; return of how many studies.

        Raises
        ------
        StoreError
            The database could not answer; the next round goes on.

        """
        with self._lock:
            if not self._rounds:
                self._unfinished |= self._store.retention.unfinished()
            for study_id in sorted(self._unfinished):
                self._delete_files(study_id)
            removed = self._remove_due()
            self._remove_old_rows()
            if not self._is_cache_clean:
                self._clean_cache()
                self._is_cache_clean = True
            if self._rounds % _COUNT_AGAIN_ROUNDS == 0 or removed:
                self.kept_bytes = self._store.retention.kept_bytes()
            self._rounds += 1
            self._warning = self.look()
            return removed

    def _remove_due(self) -> int:
        self._pause = max(0, self._pause - 1)
        free = shutil.disk_usage(self._spool.data_dir).free
        self._held.clear()
        done = [one.rule.reason for one in self.due() if self._remove(one)]
        if _WATER_MARK in done:
            now = shutil.disk_usage(self._spool.data_dir).free
            # Somebody else takes what is freed: going on would delete everything.
            self._pause = _PAUSE_ROUNDS if now <= free else 0
        return len(done)

    def due(self, *, is_plan: bool = False) -> Iterator[Due]:
        """Yield what is to be deleted now, in the order in which it goes.

        What turns out to be held, when it is to be deleted, frees nothing: those after
        it go instead.

        Parameters
        ----------
        is_plan : bool
            Whether nothing is deleted while this is read: what went before is taken
            off what is too much.

        """
        settings, now = self._settings, self._clock()
        aged = [
            (settings.images_days, "age", frozenset({StudyPart.IMAGES}), False),
            (settings.results_days, "age", frozenset({StudyPart.RESULTS}), False),
            (settings.failed_days, "failed", _BOTH, True),
        ]
        planned: dict[int, int] = {}
        for days, reason, parts, is_of_failed in aged:
            if days is None:
                continue
            if not is_plan and self._was_looked_for((reason, parts), days, now):
                continue
            rule = RemovalRule(reason, parts, now - timedelta(days=days), is_of_failed)
            left = _AT_ONCE
            is_some = False
            for one in self._candidates(rule):
                is_some = True
                if left <= 0:
                    break
                if is_plan:
                    planned[one.study_id] = (
                        planned.get(one.study_id, 0) + one.size_bytes
                    )
                yield Due(one, rule)
                left -= one.study_id not in self._held
            if not is_plan and not is_some:
                self._nothing_due[reason, parts] = now
        for reason, excess in (
            ("space", self._over_max_bytes),
            (_WATER_MARK, self._to_free),
        ):
            left = excess() - sum(planned.values())
            if left <= 0:
                continue
            rule = self._space_rule(reason)
            for one in self._candidates(rule):
                size = one.size_bytes - planned.get(one.study_id, 0)
                if size <= 0:
                    continue
                if is_plan:
                    planned[one.study_id] = one.size_bytes
                yield Due(replace(one, size_bytes=size), rule)
                if one.study_id not in self._held:
                    left -= size
                if left <= 0:
                    break

    def _was_looked_for(self, term: _Term, days: float, now: datetime) -> bool:
        last = self._nothing_due.get(term)
        # Either way, since a clock may be set back.
        return last is not None and abs(now - last) < min(
            _LOOK_AGAIN, timedelta(days=days) / _LOOKS_IN_A_TERM
        )

    def _candidates(self, rule: RemovalRule) -> Iterator[Candidate]:
        """Yield all that a rule names, a page at a time, as long as more is wanted."""
        after: Candidate | None = None
        while True:
            page = self._store.retention.candidates(rule, limit=_AT_ONCE, after=after)
            yield from page
            if len(page) < _AT_ONCE:
                return
            after = page[-1]

    def collect(self) -> Iterator[Metric]:
        """Yield what was removed since the start, and what is kept."""
        yield CounterMetricFamily(
            "dicom_node_removed_studies",
            "Studies whose images or results retention deleted.",
            value=self.removed_studies,
        )
        yield CounterMetricFamily(
            "dicom_node_removed_bytes",
            "Bytes of images and results that retention deleted.",
            value=self.removed_bytes,
        )
        yield GaugeMetricFamily(
            "dicom_node_kept_bytes",
            "Bytes of images and results that are kept, as last counted.",
            value=self.kept_bytes,
        )

    def warning(self) -> str | None:
        """Return what the last round found by `look`."""
        return self._warning

    def look(self) -> str | None:
        """Say why the disk stays above its high water mark; None: it does not.

        Raises
        ------
        StoreError
            The database could not answer.

        """
        if self._over_high_water() <= 0:
            return None
        if self._to_free() <= 0:
            return (
                "the disk is above retention.high_water and nothing is deleted: "
                "other files fill it"
            )
        rule = self._space_rule(_WATER_MARK)
        if any(
            one.size_bytes and one.study_id not in self._held
            for one in self._candidates(rule)
        ):
            return None  # there is something to go, in this round or the next
        held = self._store.retention.held()
        told = [
            f"{counted(count, 'study is', 'studies are')} not delivered to {name}"
            for name, count in sorted(held.undelivered.items())
        ]
        if held.at_work:
            told.append(
                counted(held.at_work, "study is", "studies are")
                + " being received or processed"
            )
        if held.failed:
            told.append(counted(held.failed, "study failed", "studies failed"))
        if self._held:
            told.append(
                counted(len(self._held), "study is", "studies are")
                + " asked about for storage commitment, fetched or compared with"
            )
        return (
            "the disk is above retention.high_water and nothing more may be deleted: "
            + ("; ".join(told) or "other files fill it")
        )

    def _over_max_bytes(self) -> int:
        if self._settings.max_bytes is None:
            return 0
        return self._store.retention.kept_bytes() - self._settings.max_bytes

    def _to_free(self) -> int:
        """Return how much is to go for the disk, 0 where that would not help."""
        excess = self._over_high_water()
        is_in_vain = self._pause > 0 or (
            excess > 0 and self._store.retention.kept_bytes() < excess
        )
        return 0 if is_in_vain else excess

    def _space_rule(self, reason: str) -> RemovalRule:
        before = self._clock() - timedelta(days=self._settings.space_days)
        return RemovalRule(reason, _BOTH, before)

    def _over_high_water(self) -> int:
        """Return how much is to go until low water, 0 below the high water mark."""
        high = self._settings.high_water
        if high is None:
            return 0
        disk = shutil.disk_usage(self._spool.data_dir)
        used = disk.total - disk.free
        if used <= high * disk.total:
            return 0
        return int(used - self._settings.low_water * disk.total)

    def _remove(self, due: Due) -> bool:
        study_id = due.candidate.study_id
        freed = self._store.retention.remove(
            study_id,
            due.rule,
            now=self._clock(),
            is_busy=self._store.retrievals.is_fetching,
        )
        if freed is None:
            self._held.add(study_id)
            return False
        self.removed_studies += 1
        self.removed_bytes += freed.size_bytes
        log.info(
            "study_removed",
            study_instance_uid=due.candidate.study_instance_uid,
            reason=due.rule.reason,
            size_bytes=freed.size_bytes,
            instances=freed.instances,
            results=freed.results,
        )
        self._unfinished.add(study_id)
        self._delete_files(study_id)
        return True

    def _delete_files(self, study_id: int) -> None:
        if self._store.files.delete_removed(
            study_id, self._spool.names, remove=self._delete
        ):
            self._unfinished.discard(study_id)

    def _delete(self, gone: RemovedFiles) -> bool:
        is_all = True
        for folder in gone.folders:
            shutil.rmtree(self._spool.data_dir / folder, ignore_errors=True)
            is_all &= not (self._spool.data_dir / folder).exists()
        for sha256 in gone.sha256s:
            self._cached(sha256).unlink(missing_ok=True)
        return is_all

    def _remove_old_rows(self) -> None:
        settings, now = self._settings, self._clock()
        days = settings.waiting_reports_days
        if days is not None and not self._was_looked_for(_WAITING, days, now):
            count = self._store.retention.remove_waiting_reports(
                before=now - timedelta(days=days), now=now
            )
            if count:
                log.info("waiting_reports_removed", count=count)
            self._nothing_due[_WAITING] = now  # all that were due are gone
        if settings.events_days is not None:
            self._store.retention.remove_events(
                before=now - timedelta(days=settings.events_days),
                limit=_EVENTS_AT_ONCE,
            )

    def _clean_cache(self) -> None:
        """Delete cached metadata of what is gone: a crash may have left it."""
        found = (self._spool.data_dir / _CACHE).glob("*/*.json.z")
        while batch := list(islice(found, _CACHE_AT_ONCE)):
            names = {path.name.partition(".")[0]: path for path in batch}
            kept = self._store.retention.kept_hashes(names)
            for sha256 in names.keys() - kept:
                names[sha256].unlink(missing_ok=True)

    def _cached(self, sha256: str) -> Path:
        return self._spool.data_dir / _CACHE / sha256[:2] / f"{sha256}.json.z"


_CACHE = Path("cache", "metadata")
"""Where `dicomweb.metadata` keeps what it has read."""
