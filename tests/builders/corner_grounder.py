"""A grounder without a model, for tests of what is around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dicom_node.grounding.grounder import GroundedPrompt, ModelIdentity
from dicom_node.imaging import Pixels
from dicom_node.records import BoundingBox, ImageSeries

__all__ = ["IDENTITY", "BrightestBox"]

IDENTITY = ModelIdentity("corner", "1", "0" * 64)


@dataclass
class BrightestBox:
    """A grounder that finds everything in one corner, and keeps what it was asked."""

    error: Exception | None = None
    origin: tuple[int, int, int] = (1, 2, 3)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    identity: ModelIdentity = IDENTITY

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        self.asked.append(tuple(prompts))
        if self.error is not None:
            raise self.error
        assert pixels.shape == (len(series.frames), series.rows, series.columns)
        if progress is not None:
            progress(1, 1)
        return tuple(
            GroundedPrompt(
                prompt=one,
                score=0.9,
                is_present=True,
                uncertainty=0.2,
                mask=np.ones((1, 4, 4), dtype=np.bool_),
                mask_origin=self.origin,
                boxes=(BoundingBox(1, (3.0, 2.0, 7.0, 6.0), 0.9),),
            )
            for one in prompts
        )
