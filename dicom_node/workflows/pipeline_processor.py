"""The processor of the running node: `pipeline` with its two warm rooms."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node import __version__
from dicom_node.assembly import Clock, system_clock
from dicom_node.audit import Counters
from dicom_node.backoff import delivery_delay_s
from dicom_node.config import ModelSettings, NodeSettings
from dicom_node.errors import ModelLoadError, NodeError, WorkerLostError
from dicom_node.records import ObjectReference, ResultObject, StudyReady
from dicom_node.scratch import scratch_folder
from dicom_node.stages import StageLog
from dicom_node.workflows.workbench import Workbench

if TYPE_CHECKING:
    from dicom_node.grounding.grounder import Grounder, ModelIdentity
    from dicom_node.imaging import PixelReader
    from dicom_node.pipeline import Rooms
    from dicom_node.remote import RemoteGateway, RemoteModel
    from dicom_node.reports import DocumentReader

__all__ = ["PipelineProcessor"]

_LOSSES = 2
"""A study over which the model's process ended this often is tried once more, and
then told as not processed: it may be what ends the process."""

_LOOK_S = 5.0
"""How often it is looked whether the model is still there."""

log = structlog.get_logger(__name__)


class PipelineProcessor:
    """Processes studies by `pipeline.process_study`.

    Parameters
    ----------
    settings : NodeSettings
        Models, limits and the destinations' profiles.
    make_grounder : callable, optional
        Makes who grounds with a model; a `GroundingWorker` when absent.
    counters : Counters, optional
        Counts what the models fell back to.
    clock : Clock
        The wall clock; steps are measured by it.

    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        make_grounder: Callable[[ModelSettings], Grounder] | None = None,
        counters: Counters | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._clock = clock
        self.remotes: RemoteGateway | None = None
        """Who asks the remote models that rules name."""
        self._counters = counters
        self._settings = settings
        self._make_grounder = make_grounder or self._make_worker
        self._losses: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._bench = threading.Lock()
        self._models: dict[str | None, ModelSettings] = {
            None: settings.model,
            **{one.name: one for one in settings.models},
        }
        self._reader: PixelReader | None = None
        self._documents: DocumentReader | None = None
        self._grounders: dict[str | None, Grounder] = {}
        self._is_stopped = threading.Event()
        self._keeper: threading.Thread | None = None
        self._last_trouble = "it is being loaded"

    @property
    def trouble(self) -> str | None:
        """Why the model is not loaded; None: it is."""
        grounder = self._grounders.get(None)
        if grounder is not None and _is_ready(grounder):
            return None
        return self._last_trouble

    @property
    def identity(self) -> ModelIdentity | None:
        """Which model answers by default; None: it is not loaded."""
        grounder = self._grounders.get(None)
        if grounder is None or not _is_ready(grounder):
            return None
        return grounder.identity

    def dead_threads(self) -> list[str]:
        """Return the name of what keeps the model loaded, when it has ended."""
        keeper = self._keeper
        return [] if keeper is None or keeper.is_alive() else [keeper.name]

    def fingerprint(self, model: str | None = None) -> str:
        """Return what decides the results besides the study: model, program, settings.

        Parameters
        ----------
        model : str, optional
            A name of ``[[models]]``; the default model when absent.

        Raises
        ------
        ModelLoadError
            There is no such model, or it cannot be loaded.

        """
        reports = self._settings.reports
        parts = [
            *self._model_parts(model),
            __version__,
            reports.preliminary,
            reports.tags,
            reports.vocabulary,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _model_parts(self, model: str | None) -> tuple[str, ...]:
        remote = self._remote(model)
        if remote is not None:
            return ("remote", remote.name)
        identity = self._open_grounder(model).identity
        return identity.name, identity.version, identity.sha256

    def _remote(self, model: str | None) -> RemoteModel | None:
        from dicom_node.remote import RemoteModel

        if self.remotes is None or model is None or not self.remotes.is_remote(model):
            return None
        return RemoteModel(self.remotes, model)

    def start(self) -> None:
        """Load the model in the background, again when it is lost, and tell trouble.

        The node listens meanwhile. Trying does not wait for work: a node that is not
        ready may be sent none.
        """
        self._keeper = threading.Thread(
            target=self._keep_loaded, name="warm-up", daemon=True
        )
        self._keeper.start()

    def expect(self) -> None:
        """Load in the background what makes results, and sends them: a study comes.

        They take a third of the node's memory, and the processes that decode as much
        again, which a node at rest does without; while a study is received and its
        quiet time passes, there is time for them.
        """
        threading.Thread(
            target=self._warm_up, name="warm-up-rooms", daemon=True
        ).start()

    def _warm_up(self) -> None:
        with self._lock:
            if not self._is_stopped.is_set():
                # They load what they need while this process does.
                self._open_reader().start()
        _load_rooms()

    def stop(self) -> None:
        """End the rooms' processes."""
        with self._lock:
            self._is_stopped.set()
            reader, grounders = self._reader, list(self._grounders.values())
            documents = self._documents
        if reader is not None:
            reader.close()
        if documents is not None:
            documents.close()
        _stop(grounders)
        # The thread may have been about to load one again.
        while self._keeper is not None and self._keeper.is_alive():
            self._keeper.join(0.1)
            _stop(grounders)

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
        """Ground a study's phrases and write its objects.

        Parameters
        ----------
        ready, out_dir, predecessors, model
            As `StudyProcessor.process`.
        profiles : sequence of str, optional
            Which sets of objects to make; those of the settings when absent.
        may_retry : bool, optional
            Whether the caller tries again when the model's process is lost; decided
            by how often it was when absent.

        Raises
        ------
        ModelLoadError, RemoteWaitsError, WorkerLostError, ObjectError
            As `pipeline.process_study`.

        """
        from dicom_node.pipeline import process_study, profiles_of

        key = (ready.study_instance_uid, ready.content_version)
        stages = StageLog(self._clock)
        bench = Workbench(self._bench, stages)
        try:
            with bench:
                processed = process_study(
                    ready,
                    rooms=bench.lend(self._open(model)),
                    out_dir=out_dir,
                    profiles=profiles or profiles_of(self._settings),
                    report_settings=self._settings.reports,
                    predecessors=predecessors,
                    may_retry=(
                        self._losses[key] < _LOSSES if may_retry is None else may_retry
                    ),
                    stages=stages,
                )
        except WorkerLostError:
            self._losses[key] += 1
            raise
        if self._is_stopped.is_set() and processed.result.not_processed:
            # Its rooms were closed under it: what it lacks may be no fault of its own.
            raise WorkerLostError("the node is stopping")
        self._losses.pop(key, None)
        stages.save(out_dir)
        return processed.objects

    def _keep_loaded(self) -> None:
        failures = 0
        delay_s = 0.0
        while not self._is_stopped.wait(delay_s):
            delay_s = _LOOK_S
            try:
                grounder = self._open_grounder(None)
                if failures == 0 and _is_ready(grounder):
                    continue
                load = getattr(grounder, "load", None)
                identity = grounder.identity if load is None else load()
            except Exception as error:  # noqa: BLE001 - a thread has nobody to tell
                if self._is_stopped.is_set():
                    return
                self._last_trouble = reason = _reason_of(error)
                delay_s = delivery_delay_s(failures)
                failures += 1
                log.error(  # noqa: TRY400 - class and reason say it all
                    "model_not_loaded",
                    error=type(error).__name__,
                    reason=reason,
                    next_try_s=delay_s,
                )
            else:
                failures = 0
                self._last_trouble = "its process ended and is being replaced"
                log.info("model_loaded", name=identity.name, version=identity.version)

    def _make_worker(self, settings: ModelSettings) -> Grounder:
        from dicom_node.grounding.worker import GroundingWorker

        # Once at a time: whoever waits behind a study that ends the process goes
        # before its next try.
        return GroundingWorker(
            settings,
            scratch_dir=scratch_folder(self._settings.node.data_dir),
            attempts=1,
            on_fallback=self._count_fallback,
        )

    def _count_fallback(self, to: str) -> None:
        if self._counters is not None:
            self._counters.model_fallbacks.labels(to).inc()

    def _open(self, model: str | None) -> Rooms:
        # Imported here: what receives must listen before all this is loaded.
        from dicom_node.pipeline import Rooms
        from dicom_node.reports import DocumentReader

        grounder = self._remote(model) or self._open_grounder(model)
        with self._lock:
            if self._documents is None:
                self._documents = DocumentReader()
            return Rooms(
                reader=self._open_reader(),
                grounder=grounder,
                documents=self._documents,
            )

    def _open_reader(self) -> PixelReader:
        """Return who decodes; the caller has the lock."""
        from dicom_node.imaging import PixelReader

        if self._reader is None:
            self._reader = PixelReader(
                self._settings.limits,
                scratch_dir=scratch_folder(self._settings.node.data_dir),
            )
        return self._reader

    def _open_grounder(self, model: str | None) -> Grounder:
        with self._lock:
            if self._is_stopped.is_set():
                raise WorkerLostError("the node is stopping")
            if model not in self._models:
                msg = f"a rule names the model {model}, which is not configured"
                raise ModelLoadError(msg)
            if model not in self._grounders:
                self._grounders[model] = self._make_grounder(self._models[model])
            return self._grounders[model]


def _load_rooms() -> None:
    import dicom_node.deliver
    import dicom_node.objects.archive
    import dicom_node.objects.sr
    import dicom_node.pipeline  # noqa: F401


def _stop(grounders: Sequence[Grounder]) -> None:
    for one in grounders:
        stop = getattr(one, "stop", None)
        if stop is not None:
            stop()


def _is_ready(grounder: Grounder) -> bool:
    return bool(getattr(grounder, "is_ready", True))


def _reason_of(error: Exception) -> str:
    """Say why there is no model; only our own errors and the system's are quoted."""
    if isinstance(error, NodeError):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
