"""Keep the answers that went wrong most, one picture each."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from model.records import ImageStack
from training.evaluation.report import WorstAnswer
from training.evaluation.rows import Judgement

__all__ = ["WorstAnswers", "as_seen"]

_CT_WINDOW = (-160.0, 240.0)
"""Soft tissue, in HU."""


class WorstAnswers:
    """Collects pictures of the worst answers without keeping their volumes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, WorstAnswer]] = []
        self._seen = 0

    def offer(self, judgement: Judgement, stack: ImageStack) -> None:
        """Keep the answer if it is worse than the best of the worst.

        Of absent phrases the wrong answer counts by its score.
        """
        row = judgement.row
        wrong = row.score if row.says_present else 0.0
        badness = wrong if row.error is None else row.error
        self._seen += 1
        if badness <= 0 or not self._most:
            return
        if len(self._heap) == self._most and badness <= self._heap[0][0]:
            return
        item = (badness, -self._seen, _picture(judgement, stack))
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, item)
        else:
            heapq.heapreplace(self._heap, item)

    def sorted(self) -> tuple[WorstAnswer, ...]:
        """Return what was kept, worst first."""
        return tuple(case for _, _, case in sorted(self._heap, key=lambda i: -i[0]))


def as_seen(stack: ImageStack, index: int) -> NDArray[np.uint8]:
    """Return a slice as a reader would see it: grey, or with an axis of colours."""
    plane = stack.pixels[index]
    if plane.ndim == 3:
        return np.asarray(plane, dtype=np.uint8)
    if stack.modality == "CT":
        low, high = _CT_WINDOW
    else:
        low, high = (float(v) for v in np.percentile(plane, (1, 99)))
    shown = (plane.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.asarray(shown.clip(0, 1) * 255, dtype=np.uint8)


def _picture(judgement: Judgement, stack: ImageStack) -> WorstAnswer:
    """Choose the slice with most truth, or most of what was marked."""
    truth, found = judgement.truth_mask, judgement.found_mask
    shown = found if truth is None else truth
    index = int(shown.sum(axis=(1, 2)).argmax())
    if truth is None and judgement.truth_boxes:
        index = judgement.truth_boxes[0][0]
    return WorstAnswer(
        row=judgement.row,
        plane=as_seen(stack, index),
        found=found[index].copy(),
        truth=None if truth is None else truth[index].copy(),
        boxes=tuple(box for place, box in judgement.truth_boxes if place == index),
        slice_index=index,
    )
