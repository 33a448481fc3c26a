"""A model without torch: it finds what is brighter than a number.

A prompt is what to do: ``above 600`` finds pixels, the others make trouble. A file
``fault-MODALITY`` in its folder holds a prompt that is taken in place of all others.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

__all__ = ["StubModel", "bundled", "die_once_per_file", "load", "refuse"]


@dataclass(frozen=True)
class _Box:
    slice_index: int
    xyxy: tuple[float, float, float, float]
    score: float


@dataclass
class _Found:
    score: float
    is_present: bool
    uncertainty: float
    mask: Any
    mask_origin: tuple[int, int, int]
    boxes: tuple[_Box, ...]
    probability: Any = None


class StubModel:
    """Has the interface of ``model.GroundingModel``."""

    name = "stub"
    version = "1"
    sha256 = "0" * 64
    pictures_at_once = 4
    arithmetic = ""
    refused = ""
    is_reentrant = True
    _depth = 0

    def __init__(self, folder: Path, device: str) -> None:
        if not folder.is_dir():
            msg = f"{folder} is no folder"
            raise FileNotFoundError(msg)
        self.folder = folder
        self.version = device
        self.device = device
        named = folder / "sha256"
        if named.exists():
            self.sha256 = named.read_text()

    def move_to(self, device: str) -> None:
        """Answer on another device."""
        self.device = device

    def ground(
        self,
        stack: Any,
        phrases: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        with_probabilities: bool = False,
    ) -> list[_Found]:
        """Answer each prompt."""
        self._depth += 1
        try:
            return self._answer_all(stack, phrases, progress, with_probabilities)
        finally:
            self._depth -= 1

    def _answer_all(
        self,
        stack: Any,
        phrases: Sequence[str],
        progress: Callable[[int, int], None] | None,
        with_probabilities: bool,
    ) -> list[_Found]:
        found = []
        for number, phrase in enumerate(phrases, start=1):
            one = self._answer(stack, phrase)
            if with_probabilities and one.is_present:
                one.probability = _brightness(stack.pixels, one)
            found.append(one)
            if progress is not None:
                progress(number, len(phrases))
        return found

    def _answer(self, stack: Any, phrase: str) -> _Found:
        fault = self.folder / f"fault-{stack.modality}"
        if fault.exists():
            phrase = fault.read_text()
        what, _, value = phrase.partition(" ")
        if what == "sleep":
            time.sleep(float(value))
        elif what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "die-once":
            marker = self.folder / "died"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        elif what == "fail":
            raise RuntimeError(value)
        elif what == "allocate":
            np.ones(int(value) << 20, np.uint8)
        elif what == "fits":
            self._need_memory(value)
        elif what == "device-fails":
            if self.device != "cpu":
                raise RuntimeError(f"CUDA error: unspecified launch failure {value}")
        elif what == "answer":
            return _wrong_answer(value, stack.pixels.shape)
        elif what == "alone" and self._depth > 1:
            raise OutOfMemoryError("out of memory beside another question")
        elif what == "describe":
            text = f"{stack.modality} {stack.body_part} {stack.is_volume}"
            text += f" {stack.spacing_mm} {stack.pixels.shape} {stack.pixels.dtype}"
            (self.folder / "described").write_text(text)
        return _above(stack.pixels, float(value) if what == "above" else np.inf)

    def _need_memory(self, where: str) -> None:
        """Run out of it anywhere but on a device with so many pictures at once."""
        device, at_once = where.split("/")
        if (self.device, self.pictures_at_once) != (device, int(at_once)):
            raise OutOfMemoryError("CUDA out of memory. Doe^Jane")


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


def _wrong_answer(kind: str, shape: tuple[int, ...]) -> _Found:
    mask = np.ones(shape[:3], bool)
    box = _Box(0, (0.0, 0.0, 1.0, 1.0), 0.5)
    whole = _Found(0.9, True, 0.05, mask, (0, 0, 0), (box,))
    changes: dict[str, Any] = {
        "nan": {"score": float("nan")},
        "infinite": {"uncertainty": float("inf")},
        "share": {"score": 1.5},
        "box": {"boxes": (_Box(0, (0.0, float("nan"), 1.0, 1.0), 0.5),)},
        "flat": {"mask": mask[0], "mask_origin": (0, 0)},
        "outside": {"mask_origin": (1, 0, 0)},
        "origin": {"mask_origin": (0,)},
    }
    return replace(whole, **changes[kind])


def _brightness(pixels: Any, found: _Found) -> Any:
    """Return the lowest byte of its pixels as the probabilities of what was found."""
    window = tuple(
        slice(start, start + size)
        for start, size in zip(found.mask_origin, found.mask.shape, strict=True)
    )
    return (pixels[window].astype(np.int64) % 256).astype(np.uint8)


def _above(pixels: Any, threshold: float) -> _Found:
    mask = np.asarray(pixels > threshold)
    if not mask.any():
        return _Found(0.1, False, 0.2, np.zeros((0, 0, 0), bool), (0, 0, 0), ())
    (block,) = ndimage.find_objects(mask.astype(int))
    boxes = []
    for index in range(block[0].start, block[0].stop):
        pieces, _ = ndimage.label(mask[index], structure=np.ones((3, 3)))
        for rows, columns in ndimage.find_objects(pieces):
            xyxy = tuple(
                map(float, (columns.start, rows.start, columns.stop, rows.stop))
            )
            boxes.append(_Box(index, xyxy, 0.75))
    origin = tuple(part.start for part in block)
    return _Found(0.9, True, 0.05, mask[block], origin, tuple(boxes))


def load(folder: Path, device: str) -> StubModel:
    """Return the model; it says on which device it was asked to be."""
    return StubModel(folder, device)


def refuse(folder: Path, device: str, **options: Any) -> StubModel:
    """Return a model that was asked for another arithmetic and computes as usual."""
    model = StubModel(folder, device)
    if options == {"precision": "bfloat16", "is_compiled": True}:
        model.refused = "it answers otherwise than float32"
    elif options == {"precision": "bfloat16"}:
        model.arithmetic = "bfloat16"
    return model


def die_once_per_file(folder: Path, device: str) -> StubModel:
    """End the process as long as there is a file in the folder, one file less."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return StubModel(folder, device)


def bundled() -> Path:
    """Return a folder that is always there."""
    return Path(__file__).parent
