"""Draw what a checkpoint finds on the held-out CT, for its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.inference import GroundingModel
from training.bundled.heldout import HeldOut
from training.evaluation.metrics import paste

__all__ = ["draw_overlay"]


def draw_overlay(
    model: GroundingModel, held_out: HeldOut, path: Path, *, phrases: Sequence[str]
) -> None:
    """Draw the regions of some phrases on the middle slice of the held-out CT."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    middle = len(held_out.stack.pixels) // 2
    plane: NDArray[np.float32] = held_out.stack.pixels[middle]
    body = np.nonzero(plane > -300)
    window = (
        slice(max(0, body[0].min()), int(np.percentile(body[0], 96))),
        slice(max(0, body[1].min()), body[1].max() + 1),
    )
    answers = model.ground(held_out.stack, phrases)
    figure, axis = pyplot.subplots(figsize=(6.4, 4.4), layout="constrained")
    axis.imshow(plane[window], cmap="gray", vmin=-160, vmax=240)
    colours = pyplot.get_cmap("Set2")(np.arange(len(answers)))
    for answer, colour in zip(answers, colours, strict=True):
        mask = paste(answer.mask, answer.mask_origin, held_out.stack.pixels.shape)
        shown = mask[middle][window]
        if shown.any():
            axis.contour(shown, levels=[0.5], colors=[colour], linewidths=1.5)
        axis.plot([], [], color=colour, label=f"{answer.phrase} {answer.score:.2f}")
    axis.legend(loc="upper left", fontsize=7, framealpha=0.6)
    axis.axis("off")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
