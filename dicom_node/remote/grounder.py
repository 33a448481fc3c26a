"""The answer of a remote model, in the place of a model of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dicom_node.errors import GroundingError
from dicom_node.grounding.grounder import GroundedPrompt, ModelIdentity, Progress
from dicom_node.imaging import Pixels
from dicom_node.records import ImageSeries, NotProcessed

__all__ = ["RemoteAnswers"]


@dataclass(frozen=True, eq=False)
class RemoteAnswers:
    """What a remote model said; a `Grounder`."""

    identity: ModelIdentity
    found: Mapping[tuple[str, int, str], GroundedPrompt] = field(default_factory=dict)
    """By Series Instance UID, stack number and prompt."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a series has no answer, by its UID; under an empty UID, why none has."""
    told: tuple[NotProcessed, ...] = ()
    """What else is to be told of the answer."""

    def ground(
        self,
        series: ImageSeries,
        pixels: Pixels,
        prompts: Sequence[str],
        *,
        progress: Progress | None = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        """Return what the remote model said of prompts in a series.

        Raises
        ------
        GroundingError
            The series did not leave, or the remote model gave no answer for it.

        """
        reason = self.refused.get(series.series_instance_uid) or self.refused.get("")
        if reason:
            raise GroundingError(reason)
        if progress is not None:
            progress(1, 1)
        where = (series.series_instance_uid, series.stack_number)
        return tuple(
            self.found.get((*where, one)) or _not_found(one) for one in prompts
        )


def _not_found(prompt: str) -> GroundedPrompt:
    return GroundedPrompt(
        prompt=prompt,
        score=0.0,
        is_present=False,
        uncertainty=1.0,
        mask=np.zeros((0, 0, 0), np.bool_),
        mask_origin=(0, 0, 0),
        boxes=(),
    )
