"""Ask a two-dimensional model slice by slice, and join its answers in the volume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.engines.checkpoint import EngineCheckpoint, EngineError, load_network
from model.engines.pictures import PictureSettings, display_pictures, grey_window
from model.engines.planes import (
    Finding,
    paint_region,
    paint_scores,
    piece_scores,
    stack_planes,
)
from model.records import Box, ImageStack, PhraseGrounding
from model.regions import SourceMask, slice_boxes

__all__ = ["SliceEngine"]

_STEP_MM = 3.0
"""Slices closer than this are not all looked at; the nearest one answers for them."""

_BEST_SLICES = 3
"""Slices whose best scores are averaged, as ``GroundingModel`` does."""


class SliceEngine(ABC):
    """A model that sees one picture at a time.

    Parameters
    ----------
    folder
        Checkpoint in the layout of ``save_pretrained``.
    device
        As torch spells it.
    presence_threshold
        A phrase is present from this score on.
    """

    version = "1"
    presence_threshold = 0.35
    """IDEA's own box threshold for Grounding DINO."""
    pictures_at_once = 4
    architectures: Collection[str]
    """Names of the transformers classes that it can ask."""

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str = "cpu",
        presence_threshold: float | None = None,
    ) -> None:
        self.checkpoint = EngineCheckpoint.open(Path(folder))
        self.network = load_network(
            self.checkpoint, device=device, architectures=self.architectures
        )
        self.pictures = PictureSettings.load(self.checkpoint.folder)
        self.device = device
        if presence_threshold is not None:
            self.presence_threshold = presence_threshold
        self._prepare()

    def move_to(self, device: str) -> None:
        """Answer on another device from here on."""
        self.network.to(device)
        self.device = device

    @property
    def name(self) -> str:
        """What results call the model."""
        return self.checkpoint.name

    @property
    def sha256(self) -> str:
        """Identity of weights and configuration."""
        return self.checkpoint.sha256

    @abstractmethod
    def _prepare(self) -> None:
        """Load what the architecture needs beside its network."""

    @abstractmethod
    def see(
        self, pictures: NDArray[np.uint8], phrases: Sequence[str]
    ) -> list[list[Finding]]:
        """Return one list per picture with one finding per phrase.

        Parameters
        ----------
        pictures
            (pictures, rows, columns, 3)
        """

    @torch.no_grad()
    def ground(
        self,
        stack: ImageStack,
        phrases: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        with_probabilities: bool = False,
    ) -> tuple[PhraseGrounding, ...]:
        """Answer every phrase, in order; see ``GroundingModel.ground``.

        There are no probabilities, asked for or not: boxes and masks of these models
        come with one score each.

        Raises
        ------
        ValueError
            The pixels are empty, of an unknown shape or not finite.
        EngineError
            The model answers with a score that is no number.
        """
        _check(stack.pixels)
        if not phrases:
            return ()
        looked = _looked_at(stack)
        show = _shower(stack)
        found: list[list[Finding]] = []
        for start in range(0, len(looked), self.pictures_at_once):
            some = looked[start : start + self.pictures_at_once]
            found.extend(self.see(show(some), phrases))
            if progress is not None:
                progress(min(start + len(some), len(looked)), len(looked))
        return tuple(
            self._join(phrase, [answers[i] for answers in found], looked, stack)
            for i, phrase in enumerate(phrases)
        )

    def _join(
        self,
        phrase: str,
        findings: Sequence[Finding],
        looked: NDArray[np.int64],
        stack: ImageStack,
    ) -> PhraseGrounding:
        """Fold one phrase's findings on all slices into one answer."""
        if not all(
            np.isfinite(f.scores).all()
            and np.isfinite(f.boxes_xyxy).all()
            and (f.score is None or np.isfinite(f.score))
            for f in findings
        ):
            raise EngineError("the model's answer is not finite")
        best = sorted(
            (
                float(f.scores.max(initial=0.0)) if f.score is None else f.score
                for f in findings
            ),
            reverse=True,
        )[:_BEST_SLICES]
        score = float(np.clip(np.mean(best), 0.0, 1.0))
        rows, columns = stack.pixels.shape[1:3]
        extent = self.pictures.extent(rows, columns)
        planes = {
            int(place): paint_region(
                finding, self.presence_threshold, (rows, columns), extent
            )
            for place, finding in zip(looked, findings, strict=True)
        }
        mask = stack_planes(planes, looked, len(stack.pixels))
        if score < self.presence_threshold or not mask.mask.size:
            return PhraseGrounding(
                phrase=phrase,
                score=score,
                is_present=False,
                uncertainty=score,
                mask=np.zeros((0, 0, 0), dtype=np.bool_),
                mask_origin=(0, 0, 0),
                boxes=(),
            )
        boxes = self._boxes(mask, findings, looked, stack)
        return PhraseGrounding(
            phrase=phrase,
            score=score,
            is_present=True,
            uncertainty=1.0 - score,
            mask=mask.mask,
            mask_origin=mask.origin,
            boxes=boxes,
        )

    def _boxes(
        self,
        mask: SourceMask,
        findings: Sequence[Finding],
        looked: NDArray[np.int64],
        stack: ImageStack,
    ) -> tuple[Box, ...]:
        """Box every piece; a piece is as sure as the best finding in it."""
        rows, columns = stack.pixels.shape[1:3]
        extent = self.pictures.extent(rows, columns)
        boxes: list[Box] = []
        last, sure = -1, dict[tuple[float, ...], float]()
        for index, xyxy in slice_boxes(mask, smallest_pixels=4):
            # Slices come in order, so each looked one is painted once.
            seen = int(np.abs(looked - index).argmin())
            if seen != last:
                last = seen
                sure = piece_scores(
                    paint_scores(
                        findings[seen],
                        self.presence_threshold,
                        (rows, columns),
                        extent,
                    )
                )
            boxes.append(Box(index, xyxy, float(np.clip(sure[xyxy], 0.0, 1.0))))
        return tuple(boxes)


def _check(pixels: NDArray[Any]) -> None:
    """Refuse pixels that no answer could be true of."""
    colour = pixels.ndim == 4 and pixels.shape[-1] == 3
    if not (pixels.ndim == 3 or colour) or not pixels.size:
        raise ValueError(f"pixels have shape {pixels.shape}, not (slices, rows, cols)")
    # Plane by plane: a mapped file is never held whole.
    if pixels.dtype.kind == "f" and not all(
        np.isfinite(plane).all() for plane in pixels
    ):
        raise ValueError("pixels hold NaN or infinite values")


def _shower(stack: ImageStack) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]]:
    """Return what shows slices by their index: a volume in one window for all."""
    pixels, modality = stack.pixels, stack.modality
    if pixels.ndim == 4:
        return lambda some: display_pictures(pixels[some], ())
    if stack.is_volume:
        window = grey_window(pixels, modality)
        return lambda some: display_pictures(pixels[some], [window] * len(some))
    return lambda some: display_pictures(
        pixels[some], [grey_window(pixels[i : i + 1], modality) for i in some]
    )


def _looked_at(stack: ImageStack) -> NDArray[np.int64]:
    """Choose slices at least three millimetres apart; every picture of a non-volume."""
    count = len(stack.pixels)
    gap = stack.spacing_mm[0] if stack.is_volume and stack.spacing_mm else 0.0
    stride = max(1, int(_STEP_MM // gap)) if gap > 0 else 1
    return (
        np.arange(stride // 2, count, stride, dtype=np.int64)[:count]
        if (count > stride // 2)
        else np.zeros(1, dtype=np.int64)
    )
