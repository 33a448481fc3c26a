"""One version of a study: from its instances to recorded results."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable
from weakref import WeakValueDictionary

import structlog

from dicom_node.assembly import Clock
from dicom_node.audit import Counters
from dicom_node.config import NodeSettings
from dicom_node.durable import make_durable, sync_path
from dicom_node.errors import (
    ModelLoadError,
    NodeError,
    OutOfResourcesError,
    RemoteWaitsError,
    StoreError,
    TakenOverError,
    WorkerLostError,
)
from dicom_node.records import ObjectReference, ResultObject, StudyReady
from dicom_node.result import read_shortfall
from dicom_node.store import Store, Work
from dicom_node.workflows.names import folder_name

__all__ = [
    "NO_MODEL",
    "RESULTS",
    "UNFINISHED",
    "Expecting",
    "Preparing",
    "Processing",
    "StudyProcessor",
    "Threaded",
]

RESULTS = "results"
"""Folder of the results below the data folder, one folder per run of a version."""

UNFINISHED = "processing"
"""Folder of results that are not whole yet; on the same file system, to be renamed."""

_DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})

_OUR_TROUBLE = _DISK_TROUBLE | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of this machine, which pass; others are about the study's files."""

NO_MODEL = "no model: "
"""How the reason of a version begins that lacks nothing but the model."""

log = structlog.get_logger(__name__)


class StudyProcessor(Protocol):
    """Makes the result objects of a study."""

    @property
    def trouble(self) -> str | None:
        """Why it could not begin at once, free of patient data; None: it could."""

    def fingerprint(self, model: str | None = None) -> str:
        """Return what decides the results besides the study: model and software.

        Parameters
        ----------
        model : str, optional
            A name of ``[[models]]``; the default model when absent.

        """

    def start(self) -> None:
        """Get ready in the background, and stay ready."""

    def stop(self) -> None:
        """End; what is being processed fails."""

    def process(
        self,
        ready: StudyReady,
        *,
        out_dir: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None = None,
    ) -> Sequence[ResultObject]:
        """Write the result objects into a folder and return them.

        The same study, predecessors and fingerprint give the same bytes.
        """


@runtime_checkable
class Preparing(Protocol):
    """A processor that has something to do while a version waits for its turn."""

    def prepare(self, version_id: int) -> None:
        """Get a version ready in the background; trouble shows when it is processed."""


@runtime_checkable
class Expecting(Protocol):
    """A processor that gets ready for work only when there will be some."""

    def expect(self) -> None:
        """Load in the background what the first study would wait for."""


@runtime_checkable
class Threaded(Protocol):
    """A processor with threads of its own, which last as long as the node."""

    def dead_threads(self) -> list[str]:
        """Return the names of those that were started and do not run."""


class Processing:
    """The step that processes a version.

    Parameters
    ----------
    settings : NodeSettings
        Data folder and destinations.
    store : Store
        What was received, made and delivered.
    processor : StudyProcessor
        Makes the results.
    counters : Counters
        Counts what is done.
    clock : Clock
        The wall clock.
    is_stopping : threading.Event
        Set when the node ends: what fails from then on is not the study's fault.

    """

    def __init__(
        self,
        settings: NodeSettings,
        store: Store,
        processor: StudyProcessor,
        *,
        counters: Counters,
        clock: Clock,
        is_stopping: threading.Event,
    ) -> None:
        self._store = store
        self._lock = threading.Lock()
        # A lock is there as long as somebody has it or waits for it.
        self._turns: WeakValueDictionary[int, threading.Lock] = WeakValueDictionary()
        self._processor = processor
        self._counters = counters
        self._clock = clock
        self._is_stopping = is_stopping
        self._data_dir = settings.node.data_dir.resolve()
        self._counts_preliminary = settings.reports.preliminary
        self._profiles = {one.name: one.profile for one in settings.destinations}
        make_durable(self._data_dir, RESULTS, UNFINISHED)

    def process(
        self, version_id: int, run: int, *, is_last: bool, model: str | None = None
    ) -> bool:
        """Process a version; False: try again later. A door: errors become states."""
        try:
            # A version supersedes what the one before it has made.
            with self._turn(self._store.work.study_of(version_id)):
                self._process_once(version_id, run, model)
        except TakenOverError:
            raise  # nothing can be noted: the work is another node's
        except RemoteWaitsError as error:
            if self._is_stopping.is_set():
                raise
            # How long it is waited for is the remote's setting.
            self._wait(version_id, run, str(error))
            return False
        except (
            StoreError,
            OutOfResourcesError,
            ModelLoadError,
            WorkerLostError,
            OSError,
        ) as error:
            may_pass = not isinstance(error, OSError) or error.errno in _OUR_TROUBLE
            if may_pass and not is_last and not self._is_stopping.is_set():
                self._wait(version_id, run, _reason(error))
                return False
            return self._give_up(version_id, run, error)
        except Exception as error:  # noqa: BLE001 - a door: it becomes a state
            return self._give_up(version_id, run, error)
        return True

    def _turn(self, study_id: int) -> threading.Lock:
        with self._lock:
            lock = self._turns.get(study_id)
            if lock is None:
                lock = self._turns[study_id] = threading.Lock()
            return lock

    def _wait(self, version_id: int, run: int, reason: str) -> None:
        log.warning("processing_waits", version=version_id, reason=reason)
        try:
            self._store.work.note_waiting(version_id, run=run, reason=reason)
        except StoreError as error:
            log.warning("reason_not_recorded", version=version_id, reason=str(error))

    def _give_up(self, version_id: int, run: int, error: Exception) -> bool:
        if self._is_stopping.is_set():
            # Its rooms were closed under it: the next start does it again.
            raise error
        reason = _reason(error)
        # Not its text, which may quote a data set: `audit` writes class and place.
        log.error("study_failed", version=version_id, reason=reason, exc_info=error)
        self._store.work.fail_version(
            version_id, run=run, reason=reason, now=self._clock()
        )
        self._counters.studies.labels("failed").inc()
        return True

    def _process_once(self, version_id: int, run: int, model: str | None) -> None:
        fingerprint = self._processor.fingerprint(model)
        work = self._store.work.start_version(
            version_id,
            run=run,
            fingerprint=fingerprint,
            data_dir=self._data_dir,
            now=self._clock(),
            counts_preliminary=self._counts_preliminary,
        )
        if work is None:
            return
        name, epoch = folder_name(work.key), self._store.epoch
        folder = self._data_dir / RESULTS / _of_epoch(name, epoch)
        part = self._data_dir / UNFINISHED / folder.name
        # Of a try that did not get as far as its rows.
        for parent in (folder.parent, part.parent):
            _remove_tries(parent, name, epoch)
        objects = self._make(work, part, work.predecessors, model)
        replaced = self._store.work.supersede_results(
            version_id,
            run=run,
            fingerprint=fingerprint,
            sop_instance_uids=[one.reference.sop_instance_uid for one in objects],
        )
        if replaced is not None:
            # It did not come out as last time: the new objects say what they replace.
            objects = self._make(work, part, replaced, model)
        shortfall = read_shortfall(part)
        _sync_tree(part)
        part.rename(folder)
        sync_path(folder.parent)
        obsolete = self._store.work.finish_version(
            version_id,
            run=run,
            fingerprint=fingerprint,
            objects=[
                replace(one, path=folder / one.path.relative_to(part))
                for one in objects
            ],
            result_dir=folder,
            data_dir=self._data_dir,
            destinations=self._profiles,
            now=self._clock(),
            reason=shortfall,
        )
        if obsolete is None:
            shutil.rmtree(folder, ignore_errors=True)
            self._counters.studies.labels("superseded").inc()
            log.info("study_superseded", study_instance_uid=work.key.study_instance_uid)
            return
        self._counters.studies.labels("done").inc()
        for name in obsolete:
            shutil.rmtree(self._data_dir / name, ignore_errors=True)
        log.info(
            "study_processed",
            study_instance_uid=work.key.study_instance_uid,
            results=len(objects),
            nothing_grounded=shortfall is not None,
        )

    def _make(
        self,
        work: Work,
        part: Path,
        predecessors: tuple[ObjectReference, ...],
        model: str | None,
    ) -> Sequence[ResultObject]:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        return self._processor.process(
            work.ready, out_dir=part, predecessors=predecessors, model=model
        )


def _of_epoch(name: str, epoch: int | None) -> str:
    """Return the folder of a run: a node that was taken over has another one.

    It may go on after it was stopped, and must not touch what took its place.
    """
    return name if epoch is None else f"{name}.{epoch}"


def _remove_tries(parent: Path, name: str, epoch: int | None) -> None:
    """Remove what this node, and those that it took over from, made of a run."""
    # By name: beside it lie the results of all studies, which may be very many.
    earlier = () if epoch is None else (_of_epoch(name, n) for n in range(epoch + 1))
    for one in (name, *earlier):
        shutil.rmtree(parent / one, ignore_errors=True)


def _reason(error: Exception) -> str:
    # Only our own errors are quoted: a library's text may hold a value.
    if isinstance(error, ModelLoadError | WorkerLostError):
        return f"{NO_MODEL}{error}"
    if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
        # The words of the number, not the error's own: its path stays untold.
        return f"the disk did not take it: {os.strerror(error.errno)}"
    return str(error) if isinstance(error, NodeError) else type(error).__name__


def _sync_tree(folder: Path) -> None:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            sync_path(Path(parent, name))
        sync_path(Path(parent))
