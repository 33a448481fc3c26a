"""Ask a model where phrases are, in a warm worker process.

The worker process imports torch and keeps one model loaded; this process never
imports either. Volumes are brought into canonical order before the model sees them,
and what it finds is brought back into the series' own grid.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import structlog

from dicom_node.child.answers import Answer
from dicom_node.child.process import ChildProcess
from dicom_node.config import ENGINES, Engine, ModelSettings
from dicom_node.errors import (
    DeviceLostError,
    GroundingError,
    ModelLoadError,
    ProcessLostError,
    SettingsError,
    WorkerLostError,
)
from dicom_node.grounding.grounder import (
    GroundedPrompt,
    ModelIdentity,
    Progress,
    TurnProgress,
    restore_answer,
)
from dicom_node.grounding.process import (
    SMALL_PICTURES,
    load_request,
    process_environment,
    result_of,
)
from dicom_node.grounding.turns import Turns
from dicom_node.imaging import CanonicalGrid, Pixels
from dicom_node.records import ImageSeries

__all__ = ["GroundingWorker"]

_CHILD = "dicom_node.grounding.child"

_LOAD_TIMEOUT_S = 600.0
"""Importing torch and reading the weights may take this long on a slow disk."""

_ATTEMPTS = 3
"""How often a series is given to a process; for the last time gently: one picture at
once, on the CPU."""

_TAKEN_ALONG = 10  # ends of the process over other series, before it is blamed

_LOAD_ATTEMPTS = 2
"""A process that dies while it loads is replaced once."""

_FETCH_TIMEOUT_S = 3600.0
"""A model that the operator names on the hub is some gigabytes."""

log = structlog.get_logger(__name__)


class GroundingWorker:
    """A Grounder whose model stays loaded in a process of its own.

    The process starts when it is first needed, answers one request at a time, and is
    replaced when it dies. While a series is under way, one of few pictures is answered
    between two of its batches, where the model can: both get what each gets alone. A
    context manager, safe to share between threads.

    Parameters
    ----------
    settings : ModelSettings
        Engine, checkpoint, device, time and memory.
    scratch_dir : pathlib.Path, optional
        On whose disk pixels are handed over, in files without a name; the system's
        temporary folder when absent.
    engines : dict, optional
        Name to engine; `config.ENGINES` when absent.
    attempts : int
        How often one call of `ground` replaces a process that dies. A caller that
        asks again later, after others, asks once at a time: the worker counts on.
    on_fallback : callable, optional
        Told what the model fell back to: ``smaller_batch``, ``cpu`` or, where another
        arithmetic was refused, ``float32``.

    Raises
    ------
    SettingsError
        There is no such engine; the message lists those that there are.

    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        scratch_dir: Path | None = None,
        engines: dict[str, Engine] | None = None,
        attempts: int = _ATTEMPTS,
        on_fallback: Callable[[str], None] | None = None,
    ) -> None:
        known = ENGINES if engines is None else engines
        if settings.engine not in known:
            names = ", ".join(sorted(known))
            msg = f"model.engine: {settings.engine!r} is none of: {names}"
            raise SettingsError(msg)
        self._settings = settings
        self._engine = known[settings.engine]
        self._scratch_dir = scratch_dir
        self._child = ChildProcess(
            _CHILD,
            environment=process_environment(settings),
            keeps_network=settings.hub_id is not None,
            has_side_door=True,
        )
        self._attempts = attempts
        self._on_fallback = on_fallback
        self._losses: Counter[str] = Counter()
        self._first_sha256: str | None = None
        self._turns = Turns(lambda: self.is_ready)
        self._identity: ModelIdentity | None = None
        self._is_stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def is_ready(self) -> bool:
        """Whether a model is loaded and waits, or works."""
        return self._identity is not None and self._child.is_alive

    @property
    def pid(self) -> int | None:
        """The worker's process id; None: it does not run."""
        return self._child.pid

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers; loads it when it is not.

        Raises
        ------
        ModelLoadError
            It cannot be loaded.

        """
        return self._identity or self.load()

    def load(self) -> ModelIdentity:
        """Load the model unless a process has it; return which it is.

        Raises
        ------
        ModelLoadError
            It cannot be loaded.

        """
        while True:
            with self._turns.take(may_pass=True) as is_aside:
                if not is_aside:
                    return self._load()
                identity = self._identity
                if identity is not None:
                    return identity

    def stop(self) -> None:
        """End the process; a request that is being answered raises WorkerLostError."""
        self._is_stopping = True
        try:
            with self._turns.end(self._child.interrupt):
                self._child.stop()
                self._identity = None
        finally:
            self._is_stopping = False

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        """Find prompts in a series; see `Grounder.ground`.

        Raises
        ------
        ModelLoadError
            The model cannot be loaded.
        WorkerLostError
            The process died, or lost its device, each time over the same request.
        GroundingError
            The model failed, or took too long.

        """
        if not prompts:
            return ()
        grid = CanonicalGrid.of(series)
        if pixels.shape[:3] != grid.source_shape:
            msg = f"pixels of shape {pixels.shape[:3]} for a grid {grid.source_shape}"
            raise GroundingError(msg)
        request: Answer = {
            "operation": "ground",
            "spacing_mm": grid.spacing_mm,
            "modality": series.modality,
            "body_part": series.body_part,
            "is_volume": series.is_volume,
            "prompts": list(prompts),
            "with_probabilities": with_probabilities,
        }
        uid = series.series_instance_uid
        canonical = np.ascontiguousarray(grid.apply(pixels))
        answers, masks = self._ask_in_turn(request, uid, canonical, progress=progress)
        self._tell_fallbacks(uid, answers)
        try:
            return tuple(
                restore_answer(answer, masks, grid, computed_on=answers["computed_on"])
                for answer in answers["groundings"]
            )
        except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            msg = "the model's answer does not describe masks"
            raise GroundingError(msg) from error

    def _ask_in_turn(
        self, request: Answer, uid: str, pixels: Pixels, *, progress: Progress | None
    ) -> tuple[Answer, bytes]:
        # What the process was lost over goes alone, and takes nobody along again.
        may_pass = len(pixels) <= SMALL_PICTURES and not self._losses[uid]
        while True:
            with (
                self._turns.take(may_pass=may_pass) as is_aside,
                tempfile.TemporaryFile(dir=self._scratch_dir) as source,
                tempfile.TemporaryFile(dir=self._scratch_dir) as found,
            ):
                np.save(source, pixels)
                source.flush()
                answers = self._ask(
                    request,
                    uid,
                    progress=progress,
                    files=(source.fileno(), found.fileno()),
                    is_aside=is_aside,
                )
                if answers is not None:
                    masks = found.read()
                    if answers["is_spent"]:
                        self._child.kill()
                        self._identity = None
                    return answers, masks
            may_pass = False  # the process was lost, or is to be had alone

    def _ask(
        self,
        request: Answer,
        uid: str,
        *,
        progress: Progress | None,
        files: Sequence[int],
        is_aside: bool,
    ) -> Answer | None:
        """Ask until there is an answer; None: what was asked aside is to ask alone."""
        on_turn = progress.turn if isinstance(progress, TurnProgress) else None
        if is_aside and on_turn is not None:
            on_turn(False)
        may_be_passed = not self._losses[uid]
        attempt, taken_along = 1, 0
        while True:
            if not is_aside:
                self._load()
            self._check_stopping()
            gently = self._losses[uid] >= _ATTEMPTS - 1
            try:
                answer = self._child.ask(
                    {**request, "gently": gently, "may_be_passed": may_be_passed},
                    timeout_s=self._settings.timeout_s,
                    tell=progress,
                    files=files,
                    is_aside=is_aside,
                    on_turn=on_turn,
                )
                self._check_device(answer)
            except ProcessLostError as error:
                if not is_aside:
                    self._identity = None
                self._check_stopping()
                if error.timed_out:
                    msg = f"grounding took more than {self._settings.timeout_s:g} s"
                    raise GroundingError(msg) from error
                taken_along += not error.had_turn
                if not error.had_turn and taken_along <= _TAKEN_ALONG:
                    # It ended over another series: none of this one's losses.
                    if is_aside:
                        return None
                    may_be_passed = False
                    if on_turn is not None:
                        on_turn(True)
                    continue
                self._note_loss(uid, error)
                if attempt == self._attempts:
                    if gently:
                        del self._losses[uid]  # whoever asks anew begins anew
                    msg = f"the grounding worker was lost: {error}"
                    raise WorkerLostError(msg) from error
                if is_aside:
                    return None
                attempt += 1
                may_be_passed = False
            else:
                self._losses.pop(uid, None)
                return result_of(answer, GroundingError, "the model failed")

    def _check_stopping(self) -> None:
        if self._is_stopping:
            raise WorkerLostError("the node is stopping")

    def _note_loss(self, uid: str, error: ProcessLostError) -> None:
        self._losses[uid] += 1
        log.warning(
            "grounding_lost",
            series_instance_uid=uid,
            attempt=self._losses[uid],
            reason=str(error),
        )

    def _check_device(self, answer: Answer) -> None:
        if answer.get("kind") == DeviceLostError.__name__:
            # Nothing in that process can use the device again.
            self._child.kill()
            raise ProcessLostError(answer["error"], timed_out=False)

    def _tell_fallbacks(self, uid: str, answers: Answer) -> None:
        for what in answers["fallbacks"]:
            log.warning(
                "model_fell_back",
                series_instance_uid=uid,
                to=what,
                computed_on=answers["computed_on"],
            )
            if self._on_fallback is not None:
                self._on_fallback(what)

    def _load(self) -> ModelIdentity:
        if self._identity is not None and self._child.is_alive:
            return self._identity
        self._check_stopping()
        request = load_request(self._settings, self._engine)
        loaded = result_of(
            self._ask_to_load(request), ModelLoadError, "the model cannot be loaded"
        )
        identity = ModelIdentity(loaded["name"], loaded["version"], loaded["sha256"])
        if self._first_sha256 not in {None, identity.sha256}:
            # A study's series must not be answered by two models under one name.
            self._child.kill()
            msg = "the checkpoint was replaced while the node runs: restart the node"
            raise ModelLoadError(msg)
        self._first_sha256 = identity.sha256
        self._identity = identity
        if loaded["refused"]:
            log.warning("model_fell_back", to="float32", reason=loaded["refused"])
            if self._on_fallback is not None:
                self._on_fallback("float32")
        return identity

    def _ask_to_load(self, request: Answer) -> Answer:
        for attempt in range(1, _LOAD_ATTEMPTS + 1):
            try:
                limit = _FETCH_TIMEOUT_S if request["hub_id"] else _LOAD_TIMEOUT_S
                return self._child.ask(request, timeout_s=limit)
            except ProcessLostError as error:
                self._check_stopping()
                if error.timed_out or attempt == _LOAD_ATTEMPTS:
                    msg = f"the model cannot be loaded: {error}"
                    raise ModelLoadError(msg) from error
        raise ModelLoadError  # unreachable: the last attempt returns or raises
