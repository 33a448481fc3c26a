"""Ask a model where phrases are, in a warm worker process.

The worker process imports torch and keeps one model loaded; this process never
imports either. Volumes are brought into canonical order before the model sees them,
and what it finds is brought back into the series' own grid.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dicom_node.child_process import Answer, ChildProcess
from dicom_node.config import ENGINES, Engine, ModelSettings
from dicom_node.errors import (
    GroundingError,
    ModelLoadError,
    ProcessLostError,
    SettingsError,
    WorkerLostError,
)
from dicom_node.grounder import (
    GroundedPrompt,
    Grounder,
    ModelIdentity,
    Progress,
    boxes_around,
)
from dicom_node.imaging import CanonicalGrid, Pixels
from dicom_node.records import BoundingBox, ImageSeries

__all__ = [
    "GroundedPrompt",
    "Grounder",
    "GroundingWorker",
    "ModelIdentity",
    "Progress",
    "boxes_around",
]

_CHILD = "dicom_node.grounding_child"

_LOAD_TIMEOUT_S = 600.0
"""Importing torch and reading the weights may take this long on a slow disk."""

_ATTEMPTS = 2
"""A worker that dies is replaced once for the same request."""

_FETCH_TIMEOUT_S = 3600.0
"""A model that the operator names on the hub is some gigabytes."""

_OFFLINE = {
    # Weights and tokenizers come from the checkpoint and from nowhere else.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # torch alone would leave the second thread of each core idle.
    "OMP_NUM_THREADS": str(os.cpu_count() or 1),
    # Waiting threads sleep: where other processes want the cores too, threads that
    # spin make the model thirty times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class GroundingWorker:
    """A Grounder whose model stays loaded in a process of its own.

    The process starts when it is first needed, answers one request at a time, and is
    replaced when it dies. A context manager, safe to share between
    threads.

    Parameters
    ----------
    settings : ModelSettings
        Engine, checkpoint, device, time and memory.
    scratch_dir : pathlib.Path, optional
        Where pixels are handed over; the system's temporary folder when absent.
    engines : dict, optional
        Name to engine; `config.ENGINES` when absent.

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
    ) -> None:
        known = ENGINES if engines is None else engines
        if settings.engine not in known:
            names = ", ".join(sorted(known))
            msg = f"model.engine: {settings.engine!r} is none of: {names}"
            raise SettingsError(msg)
        self._settings = settings
        self._engine = known[settings.engine]
        self._scratch_dir = scratch_dir
        offline = {} if settings.hub_id else _OFFLINE
        self._child = ChildProcess(_CHILD, environment={**_ENVIRONMENT, **offline})
        self._lock = threading.RLock()
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
        with self._lock:
            return self._load()

    def stop(self) -> None:
        """End the process; a request that is being answered raises WorkerLostError."""
        self._is_stopping = True
        try:
            if not self._lock.acquire(blocking=False):
                self._child.interrupt()
                self._lock.acquire()
            try:
                self._child.stop()
                self._identity = None
            finally:
                self._lock.release()
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
            The process died twice over the same request.
        GroundingError
            The model failed, or took too long.

        """
        if not prompts:
            return ()
        grid = CanonicalGrid.of(series)
        if pixels.shape[:3] != grid.source_shape:
            msg = f"pixels of shape {pixels.shape[:3]} for a grid {grid.source_shape}"
            raise GroundingError(msg)
        with (
            self._lock,
            tempfile.TemporaryDirectory(dir=self._scratch_dir) as folder,
        ):
            source, found = Path(folder, "pixels.npy"), Path(folder, "masks.bin")
            np.save(source, np.ascontiguousarray(grid.apply(pixels)))
            answers = self._ask(
                {
                    "operation": "ground",
                    "pixels": str(source),
                    "masks": str(found),
                    "spacing_mm": grid.spacing_mm,
                    "modality": series.modality,
                    "body_part": series.body_part,
                    "is_volume": series.is_volume,
                    "prompts": list(prompts),
                    "with_probabilities": with_probabilities,
                },
                progress,
            )
            masks = found.read_bytes()
        return tuple(_restore(answer, masks, grid) for answer in answers["groundings"])

    def _ask(self, request: Answer, progress: Progress | None) -> Answer:
        for attempt in range(1, _ATTEMPTS + 1):
            self._load()
            try:
                answer = self._child.ask(
                    request, timeout_s=self._settings.timeout_s, tell=progress
                )
            except ProcessLostError as error:
                self._identity = None
                if error.timed_out:
                    msg = f"grounding took more than {self._settings.timeout_s:g} s"
                    raise GroundingError(msg) from error
                if attempt == _ATTEMPTS or self._is_stopping:
                    msg = f"the grounding worker was lost: {error}"
                    raise WorkerLostError(msg) from error
            else:
                return _result(answer, GroundingError, "the model failed")
        raise WorkerLostError  # unreachable: the last attempt returns or raises

    def _load(self) -> ModelIdentity:
        if self._identity is not None and self._child.is_alive:
            return self._identity
        checkpoint = self._settings.checkpoint
        request = {
            "operation": "load",
            "loader": self._engine.loader,
            "bundled": self._engine.bundled,
            "checkpoint": None if checkpoint is None else str(checkpoint.resolve()),
            "hub_id": self._settings.hub_id,
            "hub_revision": self._settings.hub_revision,
            "presence_threshold": self._settings.presence_threshold,
            "device": self._settings.device,
            "memory_bytes": self._settings.memory_limit_mb << 20,
        }
        loaded = _result(
            self._ask_to_load(request), ModelLoadError, "the model cannot be loaded"
        )
        self._identity = ModelIdentity(
            name=loaded["name"], version=loaded["version"], sha256=loaded["sha256"]
        )
        return self._identity

    def _ask_to_load(self, request: Answer) -> Answer:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                limit = _FETCH_TIMEOUT_S if request["hub_id"] else _LOAD_TIMEOUT_S
                return self._child.ask(request, timeout_s=limit)
            except ProcessLostError as error:
                if error.timed_out or attempt == _ATTEMPTS or self._is_stopping:
                    msg = f"the model cannot be loaded: {error}"
                    raise ModelLoadError(msg) from error
        raise ModelLoadError  # unreachable: the last attempt returns or raises


def _result(answer: Answer, error: type[GroundingError], what: str) -> Answer:
    if "error" in answer:
        msg = f"{what}: {answer['error']}"
        raise error(msg)
    result: Answer = answer["result"]
    return result


def _restore(answer: Answer, masks: bytes, grid: CanonicalGrid) -> GroundedPrompt:
    shape, cropped = answer["mask_shape"], answer["mask_origin"]
    size, offset = math.prod(shape), answer["mask_offset"]
    flat = np.frombuffer(masks, np.bool_, count=size, offset=offset)
    mask, origin = grid.restore_mask(flat.reshape(shape), cropped)
    probability = None
    if answer["has_probability"]:  # right behind the mask
        shares = np.frombuffer(masks, np.uint8, count=size, offset=offset + size)
        probability, _ = grid.restore_mask(shares.reshape(shape), cropped)
    score = float(answer["score"])
    boxes = tuple(
        BoundingBox(index, (x0, y0, x1, y1), confidence)
        for index, (x0, y0, x1, y1), confidence in answer["boxes"]
    )
    if grid.axes[0] != 0 and mask.any():
        # Frames cut what the model saw slice by slice: look at the cut itself.
        best = max((box.score for box in boxes), default=score)
        restored = boxes_around(mask, origin, score=best)
    else:
        restored = grid.restore_boxes(boxes)
    return GroundedPrompt(
        prompt=answer["prompt"],
        score=score,
        is_present=bool(answer["is_present"]),
        uncertainty=float(answer["uncertainty"]),
        mask=mask,
        mask_origin=origin,
        boxes=restored,
        probability=probability,
    )
