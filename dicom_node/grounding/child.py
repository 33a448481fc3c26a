"""The grounding process: the only place of the node that loads torch and a model."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dicom_node.child.answers import Answer, Doors, NotNowError, Tell
from dicom_node.errors import DeviceLostError, GroundingError, ModelLoadError

__all__ = ["main"]

_CPU = "cpu"

_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""How torch says in a plain RuntimeError that memory is short."""

_DEVICE_WORDS = ("CUDA error", "CUDA driver", "HIP error", "CUDNN_STATUS")
"""How torch says that a device failed: from then on it answers nothing."""


class _Model(Protocol):
    name: str
    version: str
    sha256: str

    def ground(
        self,
        stack: Any,
        phrases: Sequence[str],
        *,
        progress: Tell | None = None,
        with_probabilities: bool = False,
    ) -> Sequence[Any]: ...


@dataclass(slots=True)
class _Stack:
    """Has the fields of ``model.ImageStack``."""

    pixels: Any
    spacing_mm: tuple[float, float, float] | None
    modality: str
    body_part: str | None
    is_volume: bool


class _Worker:
    """The loaded model and the two requests that it understands."""

    def __init__(self, socket_fds: Sequence[int]) -> None:
        self.doors = Doors(self.answer, socket_fds)
        self._model: _Model | None = None
        self._device = _CPU

    def answer(self, request: Answer, tell: Tell) -> Answer:
        if request["operation"] == "load":
            return self._load(request)
        return self._ground(request, tell)

    def _load(self, request: Answer) -> Answer:
        limit = int(request["memory_bytes"])
        # Private memory, not address space: drivers of devices and thread arenas
        # reserve far more addresses than they ever use.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            self._device = _device(request["device"])
            options: dict[str, Any] = {"device": self._device}
            # Only medglip knows them all: what is as it begins is not told.
            options |= request["options"]
            load = _resolve(request["loader"])
            self._model = load(_checkpoint_folder(request), **options)
        except Exception as error:
            # Nothing of a patient has reached this process yet, so the message of
            # whatever went wrong may be told in full.
            msg = f"{type(error).__name__}: {error}"
            raise ModelLoadError(msg) from error
        if request["sha256"] not in {None, self._model.sha256}:
            found, self._model = self._model.sha256, None
            msg = f"its SHA-256 is {found}, and not the one that model.sha256 names"
            raise ModelLoadError(msg)
        return {
            "name": self._model.name,
            "version": self._model.version,
            "sha256": self._model.sha256,
            "arithmetic": getattr(self._model, "arithmetic", ""),
            "refused": getattr(self._model, "refused", ""),
        }

    def _ground(self, request: Answer, tell: Tell) -> Answer:
        if self._model is None:
            raise GroundingError("no model is loaded")
        source, target = request["files"]
        spacing = request["spacing_mm"]
        stack = _Stack(
            pixels=np.load(source, mmap_mode="r", allow_pickle=False),
            spacing_mm=None if spacing is None else tuple(spacing),
            modality=request["modality"],
            body_part=request["body_part"],
            is_volume=request["is_volume"],
        )
        asking = _Asking(
            self._model,
            self._device,
            gently=request["gently"],
            is_passing=self.doors.is_passing,
        )
        may_be_passed = request["may_be_passed"] and getattr(
            self._model, "is_reentrant", False
        )

        def report(done: int, total: int) -> None:
            tell(done, total)
            # With less than usual the other one would not get what it gets alone.
            if may_be_passed and not asking.fallbacks:
                self.doors.let_pass()

        try:
            found = asking.ground(
                stack,
                request["prompts"],
                progress=report,
                with_probabilities=request["with_probabilities"],
            )
        except DeviceLostError as error:
            if self.doors.is_passing:
                # The one that it passes would be taken for the cause.
                sys.exit(str(error))
            raise
        answers = []
        with Path(target).open("wb") as file:
            for prompt, one in zip(request["prompts"], found, strict=True):
                mask = np.ascontiguousarray(one.mask, np.bool_)
                probability = one.probability
                answers.append(
                    {
                        "prompt": prompt,
                        "score": float(one.score),
                        "is_present": bool(one.is_present),
                        "uncertainty": float(one.uncertainty),
                        "mask_shape": mask.shape,
                        "mask_offset": file.tell(),
                        "has_probability": probability is not None,
                        "mask_origin": [int(index) for index in one.mask_origin],
                        "boxes": [
                            (
                                int(box.slice_index),
                                [float(edge) for edge in box.xyxy],
                                float(box.score),
                            )
                            for box in one.boxes
                        ],
                    }
                )
                file.write(mask.tobytes())
                if probability is not None:
                    shares = np.ascontiguousarray(probability, np.uint8)
                    file.write(shares.reshape(mask.shape).tobytes())
        return {
            "groundings": answers,
            "computed_on": asking.computed_on,
            "fallbacks": asking.fallbacks,
            "is_spent": asking.is_spent,
        }


class _Asking:
    """One question to a model, asked again with less where memory is short.

    One that passes another is told to wait instead: it shall get what it gets alone.
    The pictures that it sees at once are halved down to one; then, for this question
    alone, the model answers on the CPU.
    """

    def __init__(
        self, model: _Model, device: str, *, gently: bool, is_passing: bool
    ) -> None:
        self._model = model
        self._is_passing = is_passing
        self._home = self._now = device
        self._usual = self._at_once = int(getattr(model, "pictures_at_once", 1))
        self.fallbacks: list[str] = []
        """What it fell back to: ``smaller_batch``, ``cpu``"""
        self.is_spent = False
        """True: the device does not take the model back; another process may find out
        what it is still good for"""
        if gently:
            while self._take_less():
                pass

    @property
    def computed_on(self) -> str:
        """The device, how many pictures at once where they were fewer, and how."""
        fewer = "" if self._at_once == self._usual else f", {self._at_once} at once"
        arithmetic = getattr(self._model, "arithmetic", "")
        other = f", {arithmetic}" if arithmetic and self._now == self._home else ""
        return f"{self._now}{fewer}{other}"

    def ground(self, stack: _Stack, phrases: Sequence[str], **how: Any) -> Any:
        """Ask the model.

        Raises
        ------
        GroundingError
            Memory is short however little is asked at once.
        NotNowError
            Memory is short beside the question that this one passes.
        DeviceLostError
            The device failed.

        """
        try:
            while True:
                self._prepare()
                try:
                    return self._model.ground(stack, phrases, **how)
                except Exception as error:
                    if not _is_out_of_memory(error):
                        if _is_device_lost(error):
                            msg = f"the device {self._now} failed"
                            raise DeviceLostError(msg) from error
                        raise
                # Here the error is gone, and with it what its frames held.
                if self._is_passing:
                    _free_memory()
                    raise NotNowError
                if not self._take_less():
                    msg = f"it takes more memory than there is ({self.computed_on})"
                    raise GroundingError(msg)
        finally:
            self._restore()

    def _take_less(self) -> bool:
        if self._at_once > 1:
            self._at_once //= 2
            self._note("smaller_batch")
        elif self._now != _CPU and hasattr(self._model, "move_to"):
            self._now = _CPU
            self._note("cpu")
        else:
            return False
        return True

    def _note(self, what: str) -> None:
        if what not in self.fallbacks:
            self.fallbacks.append(what)

    def _prepare(self) -> None:
        if hasattr(self._model, "pictures_at_once"):
            self._model.pictures_at_once = self._at_once
        if self._now != self._home and hasattr(self._model, "move_to"):
            self._model.move_to(self._now)
        if self.fallbacks:
            # Only after a try that failed: with torch loaded this takes a tenth of a
            # second, as long as a radiograph does.
            _free_memory()

    def _restore(self) -> None:
        if hasattr(self._model, "pictures_at_once"):
            self._model.pictures_at_once = self._usual
        if self._now != self._home and hasattr(self._model, "move_to"):
            _free_memory()
            try:
                self._model.move_to(self._home)
            except Exception as error:
                if _is_out_of_memory(error) or _is_device_lost(error):
                    self.is_spent = True
                else:
                    raise


def _free_memory() -> None:
    """Give back what a failed try has left on the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError by its name: it is a RuntimeError, and models of tests
    # have no torch.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (
            isinstance(error, RuntimeError)
            and any(words in str(error) for words in _MEMORY_WORDS)
        )
    )


def _is_device_lost(error: Exception) -> bool:
    return type(error).__name__ == "AcceleratorError" or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in _DEVICE_WORDS)
    )


def main() -> None:
    """Answer requests until the parent has enough; the arguments are the sockets."""
    warnings.simplefilter("ignore")
    _Worker([int(one) for one in sys.argv[1:3]]).doors.serve()


def _resolve(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = attrgetter(attribute)(importlib.import_module(module))
    return found


def _checkpoint_folder(request: Answer) -> Path:
    """Return where the weights lie; fetch them if the operator named a hub."""
    if request["checkpoint"] is not None:
        return Path(request["checkpoint"])
    if request["hub_id"] is None:
        return Path(_resolve(request["bundled"])())
    from huggingface_hub import snapshot_download

    fetched = snapshot_download(
        request["hub_id"],
        revision=request["hub_revision"],
        # Weights that cannot run code, configurations and vocabularies.
        allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"],
    )
    _go_offline()
    return Path(fetched)


def _go_offline() -> None:
    """Keep libraries from the network from here on: the fetch was all they get."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"
    os.environ.pop("HF_TOKEN", None)
    # Read from the environment at import, which lies behind.
    constants.HF_HUB_OFFLINE = True


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch  # tests of this module load models without it

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
