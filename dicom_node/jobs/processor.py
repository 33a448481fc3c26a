"""The node's side: a study is written down as a job, waited for, and fetched."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dicom_node import errors
from dicom_node.config import NodeSettings
from dicom_node.errors import (
    FileAreaError,
    JobFailedError,
    NodeError,
    StoreError,
    WorkerLostError,
)
from dicom_node.jobs.files import FileArea
from dicom_node.jobs.request import JobRequest, file_keys, make_job, needed_instances
from dicom_node.jobs.result import read_files, read_objects
from dicom_node.records import ObjectReference, ResultObject, StoredInstance, StudyReady
from dicom_node.store import Store
from dicom_node.store.job_claims import FINGERPRINT_DIGITS, JobListener
from dicom_node.store.jobs import JobOutcome
from dicom_node.store.schema import JobState
from dicom_node.workflows import StudyProcessor, Threaded

__all__ = ["JobProcessor"]

_HEAR_S = 0.5
_LOOK_S = 2.0
"""How often a job is looked at of which nothing was heard."""

_TIDY_S = 60.0
_REMOVED_AT_ONCE = 64
"""Files that a sweep removes before a study may begin in between."""

_SWEEP_S = 3600.0
"""How often everything that is left in the place for files is looked through."""

_PREPARED_S = 3600.0
"""So long what was brought before its job is kept for it."""

_LOSSES = 2
"""As `pipeline_processor`: then a series that ends the model is told as not done."""

_TAKES = 3
"""How often results that are not what the worker said are asked for again."""

_OFFERS_AT_ONCE = 2

log = structlog.get_logger(__name__)


class JobProcessor(Collector):
    """Has studies processed by workers; remote models are asked from here.

    Parameters
    ----------
    settings : NodeSettings
        How workers are reached, and the destinations' profiles.
    store : Store
        On PostgreSQL; keeps the jobs.
    area : FileArea
        Where node and workers leave each other files.
    local : StudyProcessor
        Knows which model it is, and asks remote ones.
    is_remote : callable
        Whether a name is that of a remote model.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        *,
        area: FileArea,
        local: StudyProcessor,
        is_remote: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self._store = store
        self._area = area
        self._local = local
        self._is_remote = is_remote
        self._settings = settings
        self._data_dir = settings.node.data_dir.resolve()
        self._listener = JobListener.of(settings.database_url, name="dicom-node jobs")
        self._losses: Counter[tuple[str, str]] = Counter()
        self._heard = threading.Condition()
        self._times_heard = 0
        self._local_turn = threading.Lock()
        self._held: Counter[str] = Counter()
        self._prepared: dict[int, tuple[float, tuple[str, ...]]] = {}
        self._tidying = threading.RLock()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="jobs", daemon=True)
        self._offers = ThreadPoolExecutor(_OFFERS_AT_ONCE, "offer")
        self._looked: tuple[float, str | None] = (-_LOOK_S, None)

    @property
    def identity(self) -> Any:
        """Which model the workers must have; None: it is not known yet."""
        return getattr(self._local, "identity", None)

    @property
    def trouble(self) -> str | None:
        """Why nothing could be processed at the moment."""
        if self._local.trouble is not None:
            return self._local.trouble
        at, found = self._looked
        if time.monotonic() - at >= _LOOK_S:
            found = self._look_for_workers()
            self._looked = time.monotonic(), found
        return found

    def dead_threads(self) -> list[str]:
        """Return the names of those that were started and do not run."""
        dead = self._local.dead_threads() if isinstance(self._local, Threaded) else []
        if self._thread.ident is not None and not self._thread.is_alive():
            dead.append(self._thread.name)
        return dead

    def fingerprint(self, model: str | None = None) -> str:
        """Return what decides the results, and what a worker must be."""
        return self._local.fingerprint(model)

    def start(self) -> None:
        """Learn which model it is, and listen for what workers say."""
        self._local.start()
        self._thread.start()

    def stop(self) -> None:
        """Wait for no job any more; those that are open or run go on."""
        self._is_stopping.set()
        self._tell_who_waits()
        self._offers.shutdown(wait=False, cancel_futures=True)
        self._local.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()

    def prepare(self, version_id: int) -> None:
        """Bring a version's images while it waits for its turn."""
        if not self._is_stopping.is_set():
            self._offers.submit(self._prepare, version_id)

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None = None,
    ) -> Sequence[ResultObject]:
        """Have a study processed, and bring the results into a folder.

        Raises
        ------
        FileAreaError
            The place for files cannot be reached.
        StoreError
            The database could not answer.
        JobFailedError
            Workers were lost over the study, or failed in a way that has no name.
        NodeError
            What the worker met, as if it had happened here.

        """
        if model is not None and self._is_remote(model):
            with self._local_turn:
                return self._local.process(
                    ready, out_dir=out_dir, predecessors=predecessors, model=model
                )
        # Imported here: what receives must listen before all this is loaded.
        from dicom_node.pipeline import profiles_of

        key = (ready.study_instance_uid, ready.content_version)
        profiles = profiles_of(self._settings)
        asked = JobRequest(
            ready, predecessors, model, profiles, self._losses[key] < _LOSSES
        )
        job = make_job(
            asked, fingerprint=self.fingerprint(model), key_of=self._area.key_of
        )
        with self._holding(needed_instances(ready)):
            self.tidy()
            self._area.offer(needed_instances(ready))
            self._store.jobs.open(job)
            for _ in range(_TAKES):
                outcome = self._wait(job.job_id)
                if outcome.state is JobState.FAILED:
                    self._raise(outcome, key, file_keys(job.request))
                try:
                    made = self._take(job.job_id, outcome, out_dir)
                except FileAreaError as error:
                    log.warning("job_not_whole", job=job.job_id, reason=str(error))
                    self._store.jobs.reopen(job.job_id)
                else:
                    self._losses.pop(key, None)
                    return made
        raise FileAreaError("what workers leave is not what they say")

    def tidy(self) -> None:
        """Forget the jobs of versions that wait for nothing, and their files."""
        with self._tidying:
            gone = self._store.jobs.forget()
            if not gone:
                return
            wanted = self._wanted()
            keys = {key for one in gone for key in file_keys(one)} - set(wanted)
            self._area.forget([one["job_id"] for one in gone], keys=keys)

    def sweep(self) -> int:
        """Remove what no job needs from the place for files; return how much."""
        # To list takes as long as the place does, and nobody waits for it.
        gone = self._unneeded(self._area.listed())
        removed = 0
        for start in range(0, len(gone), _REMOVED_AT_ONCE):
            if self._is_stopping.is_set():
                break
            with self._tidying:
                self._store.check_claim()  # what another node took over is its own
                still = self._unneeded(gone[start : start + _REMOVED_AT_ONCE])
                self._area.remove(still)
            removed += len(still)
        if removed:
            log.info("job_files_removed", count=removed)
        return removed

    def _unneeded(self, listed: Sequence[str]) -> list[str]:
        with self._tidying:
            jobs = {one["job_id"] for one in self._store.jobs.requests()}
            return self._area.unneeded(listed, jobs, keys=self._wanted())

    def collect(self) -> Iterator[Metric]:
        """Yield how many jobs are in each state, and how many workers there are."""
        try:
            counts, workers = self._store.jobs.counts(), self._store.jobs.workers()
        except StoreError:
            return  # the node's own numbers tell it
        family = GaugeMetricFamily(
            "dicom_node_jobs", "Jobs for workers.", labels=["state"]
        )
        for state, count in counts.items():
            family.add_metric([state], count)
        yield family
        yield GaugeMetricFamily(
            "dicom_node_workers", "Workers that are connected.", len(workers)
        )

    def _wait(self, job_id: str) -> JobOutcome:
        while True:
            heard = self._times_heard
            outcome = self._store.jobs.outcome(job_id)
            if outcome is None:
                raise StoreError("nobody waits for the job any more")
            if outcome.state in {JobState.DONE, JobState.FAILED}:
                return outcome
            with self._heard:
                if self._times_heard == heard:
                    self._heard.wait(_LOOK_S)
            if self._is_stopping.is_set():
                raise WorkerLostError("the node is stopping")

    def _take(
        self, job_id: str, outcome: JobOutcome, out_dir: Path
    ) -> Sequence[ResultObject]:
        result = outcome.result or {}
        for one in read_files(result):
            path = out_dir / one.path
            path.unlink(missing_ok=True)
            self._area.take(one, path, job_id=job_id, generation=outcome.generation)
        return read_objects(result, out_dir)

    def _raise(
        self, outcome: JobOutcome, key: tuple[str, str], files: Mapping[str, str]
    ) -> None:
        """Raise what the worker met."""
        reason = outcome.reason or ""
        found = getattr(errors, outcome.error or "", None)
        detail = outcome.result or {}
        if damaged := files.keys() & detail.get("damaged", ()):
            self._area.forget((), keys=damaged)  # they are brought anew
        if outcome.error == WorkerLostError.__name__:
            self._losses[key] += 1
        if "errno" in detail:
            raise OSError(int(detail["errno"]), "on a worker")
        if isinstance(found, type) and issubclass(found, NodeError):
            raise found(reason)
        raise JobFailedError(reason)

    def _prepare(self, version_id: int) -> None:
        try:
            instances = self._store.work.version_instances(
                version_id, data_dir=self._data_dir
            )
            keys = tuple(self._area.key_of(one) for one in instances)
            with self._tidying:
                self._prepared[version_id] = (time.monotonic() + _PREPARED_S, keys)
            self._area.offer(instances)
        except (NodeError, OSError) as error:
            # It is tried again when the job is made, and told there.
            log.warning(
                "images_not_brought", version=version_id, error=type(error).__name__
            )

    @contextmanager
    def _holding(self, instances: Sequence[StoredInstance]) -> Iterator[None]:
        """Keep the files of these instances, whoever else is done with them."""
        keys = [self._area.key_of(one) for one in instances]
        with self._tidying:
            self._held.update(keys)
        try:
            yield
        finally:
            with self._tidying:
                self._held.subtract(keys)
                self._held += Counter()  # drops what nobody holds

    def _wanted(self) -> set[str]:
        now = time.monotonic()
        self._prepared = {
            version: one for version, one in self._prepared.items() if one[0] > now
        }
        wanted = set(self._held)
        for _, keys in self._prepared.values():
            wanted.update(keys)
        for request in self._store.jobs.requests():
            wanted.update(file_keys(request))
        return wanted

    def _tell_who_waits(self) -> None:
        with self._heard:
            self._times_heard += 1
            self._heard.notify_all()

    def _listen(self) -> None:
        tidied_at, swept_at = time.monotonic(), -_SWEEP_S
        while not self._is_stopping.is_set():
            try:
                if self._listener.wait(_HEAR_S):
                    self._tell_who_waits()
                if time.monotonic() - swept_at >= _SWEEP_S:
                    swept_at = time.monotonic()
                    self.sweep()
                if time.monotonic() - tidied_at >= _TIDY_S:
                    tidied_at = time.monotonic()
                    self.tidy()
            except NodeError as error:
                log.warning("job_files_not_removed", reason=str(error))
            except Exception:  # a door: it listens on
                log.exception("jobs_not_looked_after")
                self._is_stopping.wait(_HEAR_S)

    def _look_for_workers(self) -> str | None:
        try:
            workers = self._store.jobs.workers()
            mine = self.fingerprint()[:FINGERPRINT_DIGITS]
        except NodeError:
            return None  # the database, or the model, is told of elsewhere
        if not workers:
            return "no worker is connected (dicom-node work)"
        if mine not in workers:
            return "all workers have another version, model or settings"
        return None
