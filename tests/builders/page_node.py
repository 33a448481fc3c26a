"""Run the real node with a grounder that sees brightness: `page_node.py SETTINGS`.

While a file ``model-fails`` lies beside the settings it fails on every long series.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dicom_node.config import ModelSettings, load_settings
from dicom_node.errors import GroundingError
from dicom_node.grounding.grounder import (
    GroundedPrompt,
    ModelIdentity,
    Progress,
    boxes_around,
)
from dicom_node.imaging import Pixels
from dicom_node.records import ImageSeries
from dicom_node.service import run_node
from dicom_node.workflows import PipelineProcessor
from tests.builders.page_study import ORGANS, organ_mask

_LONG = 12
"""Frames from which a series is long."""


class BrightnessGrounder:
    """Finds the organs of `page_study` where their own brightness is."""

    identity = ModelIdentity("brightness", "1.0", "5e" * 32)

    def __init__(self, fails: Path) -> None:
        self._fails = fails

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        """Answer each prompt by the organ that it names."""
        if len(series.frames) > _LONG and self._fails.exists():
            raise GroundingError("the model ran out of memory")
        answers = []
        for number, prompt in enumerate(prompts, start=1):
            answers.append(_answer(pixels, prompt))
            if progress is not None:
                progress(number, len(prompts))
        return tuple(answers)


def _answer(pixels: Pixels, prompt: str) -> GroundedPrompt:
    name = next((one for one in ORGANS if one in prompt.lower()), None)
    mask = np.zeros((0, 0, 0), bool)
    if name is not None and pixels.ndim == 3:
        mask = organ_mask(np.asarray(pixels), name)
    if not mask.any():
        return GroundedPrompt(
            prompt, 0.12, False, 0.31, np.zeros((0, 0, 0), bool), (0, 0, 0), ()
        )
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    origin = (int(low[0]), int(low[1]), int(low[2]))
    cropped = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    score = ORGANS[str(name)].score
    return GroundedPrompt(
        prompt,
        score,
        True,
        1 - score,
        cropped,
        origin,
        boxes_around(cropped, origin, score=score),
    )


def _make_grounder(_settings: ModelSettings) -> BrightnessGrounder:
    return BrightnessGrounder(Path(sys.argv[1]).with_name("model-fails"))


if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]), {})
    processor = PipelineProcessor(settings, make_grounder=_make_grounder)
    run_node(settings, processor=processor)
