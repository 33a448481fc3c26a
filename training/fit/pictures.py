"""Draw what the network answers beside what is true: one file every so many steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.batch import Batch
from training.config import StageConfig

if TYPE_CHECKING:
    from training.fit.trainer import Trainer

__all__ = ["draw_predictions"]

_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7")
"""Okabe and Ito's palette, told apart with any colour vision."""


@torch.no_grad()
def draw_predictions(
    trainer: Trainer, batch: Batch, folder: Path, *, pictures: int = 4, phrases: int = 5
) -> Path:
    """Write ``step-<number>.png``: truth above (filled), answers below (lines).

    Parameters
    ----------
    batch
        Its first `pictures` pictures are drawn, each with its `phrases` largest
        regions.
    """
    was_training = [module.training for module in trainer.learner.modules()]
    trainer.learner.eval()
    lesson = trainer.prepare(batch, StageConfig(steps=1, losses=("dense",)))
    output = trainer.model(lesson.batch.pixels, lesson.batch.modality, lesson.text)
    for module, training in zip(trainer.learner.modules(), was_training, strict=True):
        module.training = training
    shares = output.mask_logits.float().sigmoid().cpu().numpy()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{trainer.step:06d}.png"
    if trainer.world.is_first:
        _plot(batch, shares[:pictures], path, phrases=phrases)
    return path


def _plot(
    batch: Batch, shares: NDArray[np.float32], path: Path, *, phrases: int
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(3 * len(shares), 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(shares), squeeze=False)
    for column, share in enumerate(shares):
        picture = batch.pixels[column, batch.pixels.shape[1] // 2 - 1].numpy()
        masks = batch.masks[column].numpy()
        rows = np.argsort(masks.sum((1, 2)))[::-1][:phrases]
        for row, title in enumerate(("labels", "answers")):
            axis = axes[row, column]
            axis.imshow(picture, cmap="gray", vmin=-1, vmax=1)
            axis.set_title(f"{batch.sample_ids[column]}: {title}", fontsize=7)
            axis.set_axis_off()
        handles = []
        for colour, phrase in zip(_COLOURS, rows, strict=False):
            _outline(axes[0, column], masks[phrase].astype(float), colour)
            _outline(axes[1, column], share[phrase], colour)
            (handle,) = axes[1, column].plot([], [], color=colour)
            handles.append(handle)
        names = [batch.phrases[row] for row in rows]
        axes[1, column].legend(handles, names, fontsize=5, loc="lower left")
    figure.savefig(path, dpi=80)


def _outline(axis: Any, share: NDArray[Any], colour: str) -> None:
    if share.min() < 0.5 < share.max():
        axis.contour(share, levels=[0.5], colors=[colour], linewidths=1.0)
