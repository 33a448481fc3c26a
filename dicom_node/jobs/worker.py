"""The worker's side: a job is claimed, its files are brought, its results are left."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import structlog

from dicom_node.errors import (
    FileAreaError,
    FileDamagedError,
    LeaseLostError,
    NodeError,
    StoreError,
)
from dicom_node.jobs.files import FileArea
from dicom_node.jobs.request import file_keys, read_request
from dicom_node.jobs.result import make_result
from dicom_node.records import ObjectReference, ResultObject, StudyReady
from dicom_node.store.job_claims import Claimed, JobClaims, JobListener, session_name

__all__ = ["JobRunner", "Worker"]

_HEAR_S = 0.5
_POLL_S = 2.0
"""How often jobs are looked for without a sign: one that lapses gives none."""

_AGAIN_S = 2.0
"""A worker that could not reach database or files waits so long."""

_TELL_S = 60.0

log = structlog.get_logger(__name__)


class JobRunner(Protocol):
    """Makes the result objects of a study; `PipelineProcessor` does."""

    @property
    def trouble(self) -> str | None:
        """Why it could not begin at once; None: it could."""

    def fingerprint(self, model: str | None = None) -> str:
        """Return what decides the results besides the study."""

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None = None,
        profiles: Sequence[str] | None = None,
        may_retry: bool | None = None,
    ) -> Sequence[ResultObject]:
        """Write the result objects into a folder and return them."""

    def stop(self) -> None:
        """End; what is being processed fails."""


class Worker:
    """Does one job after the other.

    Parameters
    ----------
    claims : JobClaims
        Where the jobs are.
    area : FileArea
        Where node and workers leave each other files.
    runner : JobRunner
        Does them.
    models : collection of str or None
        The names of its models; None is the default one.
    lease_s : float
        How long a claim holds; a sign of life is given three times meanwhile.
    folder : pathlib.Path
        Where it works, for itself alone; emptied after each job.
    clock : callable
        Seconds that never go back.

    """

    def __init__(
        self,
        claims: JobClaims,
        area: FileArea,
        runner: JobRunner,
        *,
        models: Collection[str | None],
        lease_s: float,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble: str | None = "the model is being loaded"
        """Why it takes no job; None: it does, or would."""
        self.done: dict[str, int] = {"done": 0, "failed": 0, "lost": 0, "given back": 0}
        """Jobs by how they ended."""
        self.seconds: dict[str, float] = {"fetch": 0.0, "process": 0.0, "leave": 0.0}
        """How long the steps of jobs took, altogether."""
        self.running: str | None = None
        """Study Instance UID of what it does."""
        self._claims = claims
        self._area = area
        self._runner = runner
        self._models = tuple(models)
        self._lease_s = lease_s
        self._folder = folder
        self._clock = clock
        self._is_stopping = threading.Event()
        self._told_at = -_TELL_S

    def stop(self) -> None:
        """Begin nothing more; what is being done is given back."""
        self._is_stopping.set()
        self._runner.stop()

    def run(self) -> None:
        """Work until `stop`; what nobody expected is told, and it goes on."""
        while not self._is_stopping.is_set():
            try:
                self._run()
            except Exception as error:  # noqa: BLE001 - its text may hold a value
                self.trouble = type(error).__name__
                log.error(  # noqa: TRY400 - for the same reason
                    "worker_failed", error=type(error).__name__, next_try_s=_AGAIN_S
                )
                self._is_stopping.wait(_AGAIN_S)

    def _run(self) -> None:
        fingerprints = self._learn()
        if not fingerprints:
            return
        default = next(iter(fingerprints))
        listener = JobListener(self._claims.url, name=session_name(default))
        looked_at = -_POLL_S
        try:
            while not self._is_stopping.is_set():
                is_heard = listener.wait(_HEAR_S)
                if not is_heard and self._clock() - looked_at < _POLL_S:
                    continue
                while not self._is_stopping.is_set() and self._work(fingerprints):
                    pass
                looked_at = self._clock()
        finally:
            listener.close()

    def _learn(self) -> dict[str, str | None]:
        """Load the default model and say what this worker is; empty: it stops."""
        while not self._is_stopping.is_set():
            try:
                found = {self._runner.fingerprint(one): one for one in self._models}
            except NodeError as error:
                if not self._is_stopping.is_set():
                    self.trouble = str(error)
                    log.error(  # noqa: TRY400 - class and reason say it all
                        "model_not_loaded", reason=str(error), next_try_s=_AGAIN_S
                    )
                self._is_stopping.wait(_AGAIN_S)
            else:
                self.trouble = None
                log.info("worker_ready", fingerprints=sorted(found))
                return found
        return {}

    def _work(self, fingerprints: dict[str, str | None]) -> bool:
        """Do a job; False: there is none."""
        try:
            claimed = self._claims.claim(tuple(fingerprints))
            if claimed is None:
                self._tell_of_others(tuple(fingerprints))
                return False
        except StoreError as error:
            self.trouble = str(error)
            self._tell("jobs_not_reached", reason=str(error))
            self._is_stopping.wait(_AGAIN_S)
            return False
        self.trouble = None
        self.running = claimed.study_instance_uid
        log.info(
            "job_claimed",
            job=claimed.job_id,
            study_instance_uid=claimed.study_instance_uid,
            try_number=claimed.generation,
        )
        try:
            with self._signs_of_life(claimed):
                self._do(claimed, fingerprints[claimed.fingerprint])
        except LeaseLostError:
            self.done["lost"] += 1
            log.warning("job_lost", job=claimed.job_id)
        except StoreError as error:
            # Its lease lapses, and another worker does it.
            self.done["lost"] += 1
            log.warning("job_not_ended", job=claimed.job_id, reason=str(error))
        finally:
            self.running = None
        return True

    def _do(self, claimed: Claimed, model: str | None) -> None:
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                result = self._make(claimed, Path(folder), model)
        except Exception as error:  # noqa: BLE001 - a door: it becomes a state
            if self._is_stopping.is_set():
                self._claims.give_back(claimed)
                self.done["given back"] += 1
                log.info("job_given_back", job=claimed.job_id)
                return
            self._fail(claimed, error)
            return
        self._claims.complete(claimed, result)
        self.done["done"] += 1
        log.info(
            "job_done",
            job=claimed.job_id,
            study_instance_uid=claimed.study_instance_uid,
            **{f"{name}_s": round(of, 3) for name, of in result["seconds"].items()},
        )

    def _make(
        self, claimed: Claimed, folder: Path, model: str | None
    ) -> dict[str, Any]:
        began = self._clock()
        keys = file_keys(claimed.request)
        files = self._area.fetch(keys, folder / "images")
        asked = read_request(claimed.request, files)
        fetched = self._clock()
        out_dir = self._area.result_folder(
            claimed.job_id, claimed.generation, folder=folder
        )
        objects = self._runner.process(
            asked.ready,
            out_dir=out_dir,
            predecessors=asked.predecessors,
            model=model,
            profiles=asked.profiles,
            may_retry=asked.may_retry,
        )
        processed = self._clock()
        seconds = {"fetch": fetched - began, "process": processed - fetched}
        result = make_result(
            out_dir,
            objects,
            leave=lambda path, sha256: self._area.leave(
                claimed.job_id, claimed.generation, path=path, sha256=sha256
            ),
            seconds=seconds,
        )
        seconds["leave"] = self._clock() - processed
        for name, of in seconds.items():
            self.seconds[name] += of
        return {**result, "seconds": seconds}

    def _fail(self, claimed: Claimed, error: Exception) -> None:
        # Only our own errors are quoted: a library's text may hold a value.
        reason = str(error) if isinstance(error, NodeError) else type(error).__name__
        detail: dict[str, Any] = {}
        if isinstance(error, OSError) and error.errno is not None:
            detail["errno"] = error.errno
        if isinstance(error, FileDamagedError):
            detail["damaged"] = error.facts.get("damaged", [])
        log.error(
            "job_failed",
            job=claimed.job_id,
            study_instance_uid=claimed.study_instance_uid,
            reason=reason,
            exc_info=error,
        )
        self._claims.fail(
            claimed,
            error=type(error).__name__,
            reason=reason,
            detail=detail or None,
        )
        self.done["failed"] += 1
        if isinstance(error, FileAreaError):
            self._is_stopping.wait(_AGAIN_S)  # leave the next job to who can reach it

    @contextmanager
    def _signs_of_life(self, claimed: Claimed) -> Iterator[None]:
        is_over = threading.Event()

        def renew() -> None:
            while not is_over.wait(self._lease_s / 3):
                try:
                    self._claims.renew(claimed)
                except LeaseLostError:
                    log.warning("lease_lost", job=claimed.job_id)
                    return
                except StoreError as error:
                    self._tell("lease_not_renewed", reason=str(error))
                except Exception as error:  # noqa: BLE001 - its text may hold a value
                    self._tell("lease_not_renewed", reason=type(error).__name__)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()

    def _tell_of_others(self, fingerprints: Collection[str]) -> None:
        if self._claims.others_wait(fingerprints):
            self.trouble = "jobs wait that need another version, model or settings"
            self._tell("jobs_for_others", reason=self.trouble)
        else:
            self.trouble = None

    def _tell(self, event: str, *, reason: str) -> None:
        """Say what lasts once a minute."""
        if self._clock() - self._told_at >= _TELL_S:
            self._told_at = self._clock()
            log.warning(event, reason=reason)
