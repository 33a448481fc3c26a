"""Compute every loss of one batch: the part of a step that runs under DDP or FSDP."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.core import DenoisingQueries, Detections
from model.medglip import MedGLIP, MedGLIPOutput
from model.text import TextBatch
from training.batch import Batch, PictureRegions
from training.config import TrainingConfig
from training.losses.core import core_loss
from training.losses.denoising import make_denoising
from training.losses.hierarchy import hierarchy_loss
from training.losses.matching import Pairs
from training.losses.taco import taco_loss
from training.losses.targets import (
    SMALLEST_PIXELS,
    ask_regions,
    choose_core_phrases,
)
from training.losses.terms import concept_contrast, dense_loss, presence_loss

__all__ = ["CoreTask", "Learner", "Lesson", "set_task", "to_device"]


@dataclass
class CoreTask:
    """What the detection core is asked about the first pictures of a batch."""

    asked: Tensor
    """(pictures, n) rows of the batch's phrases"""
    sure: Tensor
    """(pictures, n) bool: the labels can tell"""
    targets: list[PictureRegions]
    denoising: DenoisingQueries | None = None
    denoising_pairs: list[Pairs] | None = None


@dataclass
class Lesson:
    """A batch as the network reads it."""

    batch: Batch
    text: TextBatch
    more: TextBatch | None
    """Wordings for the text objective alone"""
    task: CoreTask | None
    losses: frozenset[str]
    """Objectives that this step has"""


def set_task(
    batch: Batch,
    config: TrainingConfig,
    *,
    pictures: int,
    seed: tuple[int, ...],
) -> CoreTask:
    """Draw what the core is asked, all chance from `seed`.

    Parameters
    ----------
    pictures
        How many pictures of the batch the core sees; 0: all.
    """
    some = pictures or len(batch.pixels)
    known = batch.known[:some]
    areas = batch.masks[:some].flatten(2).sum(-1)
    rng = np.random.default_rng(seed)
    asked = choose_core_phrases(areas, known, rng, count=config.core_phrases)
    sure = known.gather(1, asked)
    # Slivers are neither there nor not.
    area = areas.gather(1, asked)
    sure &= (area == 0) | (area >= SMALLEST_PIXELS)
    targets = [
        ask_regions(regions, rows, certain)
        for regions, rows, certain in zip(batch.regions, asked, sure, strict=False)
    ]
    task = CoreTask(asked, sure, targets)
    if config.denoising_groups:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        made = make_denoising(
            targets,
            generator=generator,
            groups=config.denoising_groups,
            label_noise=config.label_noise,
            box_noise=config.box_noise,
        )
        if made is not None:
            task.denoising, task.denoising_pairs = made
    return task


class Learner(nn.Module):
    """Hold the network and turn lessons into losses."""

    def __init__(self, model: MedGLIP, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """Return each loss before its weight; names of parts follow a dot."""
        batch, task, wanted = lesson.batch, lesson.task, lesson.losses
        output: MedGLIPOutput | None = None
        more: Tensor | None = None
        with torch.autocast(
            batch.pixels.device.type,
            dtype=torch.bfloat16,
            enabled=self.config.precision == "bfloat16",
        ):
            if task is not None and wanted <= {"core", "taco"}:
                detections = self._detect(lesson, task)
            else:
                output = self._answer(lesson)
                detections = output.detections
                if "words" in wanted and lesson.more is not None:
                    more = self.model.read(self._disturb(lesson.more)).vectors
        losses: dict[str, Tensor] = {}
        if output is not None:
            losses.update(self._dense_losses(output, batch, wanted))
            if "words" in wanted:
                losses["words"] = _contrast(output.phrase_vectors, more, batch)
        if task is not None and detections is not None:
            losses.update(self._core_losses(detections, task, wanted))
        return losses

    def _answer(self, lesson: Lesson) -> MedGLIPOutput:
        batch, task = lesson.batch, lesson.task
        output: MedGLIPOutput = self.model(
            batch.pixels,
            batch.modality,
            self._disturb(lesson.text),
            asked=None if task is None else task.asked,
            denoising=None if task is None else task.denoising,
        )
        return output

    def _detect(self, lesson: Lesson, task: CoreTask) -> Detections | None:
        """Ask the core alone: nobody looks at the dense branch in this step."""
        some = len(task.asked)
        pixels, modality = lesson.batch.pixels[:some], lesson.batch.modality[:some]
        return self.model.detect(
            self.model.see(pixels, modality),
            modality,
            self.model.read(self._disturb(lesson.text)),
            asked=task.asked,
            denoising=task.denoising,
        )

    def _dense_losses(
        self, output: MedGLIPOutput, batch: Batch, wanted: frozenset[str]
    ) -> dict[str, Tensor]:
        losses = {}
        presence = output.presence_logits.float()
        if "dense" in wanted:
            answers = output.mask_hypotheses
            answers = output.mask_logits if answers is None else answers
            losses["dense"] = dense_loss(
                answers.float(),
                batch.masks,
                batch.known,
                outlined=batch.outlined,
                weight=batch.weight,
                epsilon=self.config.hypothesis_epsilon,
            )
        if "presence" in wanted:
            losses["presence"] = presence_loss(
                presence,
                batch.masks.flatten(2).sum(-1),
                batch.known,
                weight=batch.weight,
                smallest=SMALLEST_PIXELS,
            )
        if "hierarchy" in wanted:
            losses["hierarchy"] = hierarchy_loss(presence, batch.parent)
        return losses

    def _core_losses(
        self, detections: Detections, task: CoreTask, wanted: frozenset[str]
    ) -> dict[str, Tensor]:
        config, losses = self.config, {}
        if "core" in wanted:
            terms = core_loss(
                detections,
                task.targets,
                task.sure,
                proposal_matches=config.proposal_matches,
                denoising_pairs=task.denoising_pairs,
                denoising_groups=max(1, config.denoising_groups),
                epsilon=config.hypothesis_epsilon,
                by_word=config.word_alignment,
            )
            losses = {f"core.{name}": value for name, value in terms.items()}
        if "taco" in wanted:
            losses["taco"] = taco_loss(
                detections.logits[:, -1].float(),
                detections.boxes[:, -1].float(),
                task.targets,
                generator=torch.Generator().manual_seed(int(task.asked.sum())),
            )
        return losses

    def _disturb(self, text: TextBatch) -> TextBatch:
        """Add noise to frozen word states, and forget attributes now and then."""
        if not self.model.phrase_adapter.training:
            return text
        changes: dict[str, Any] = {}
        if text.hidden is not None and self.config.text_noise:
            noise = torch.randn_like(text.hidden) * self.config.text_noise
            changes["hidden"] = text.hidden + noise * text.mask[..., None]
        if text.attribute_mask is not None and self.config.attribute_dropout:
            mask = text.attribute_mask
            kept = torch.rand(len(mask), 1, device=mask.device)
            changes["attribute_mask"] = mask & (kept >= self.config.attribute_dropout)
        return replace(text, **changes)


def _contrast(vectors: Tensor, more: Tensor | None, batch: Batch) -> Tensor:
    concept = batch.concept
    if more is not None and batch.contrast_concept is not None:
        vectors = torch.cat((vectors, more))
        concept = torch.cat((concept, batch.contrast_concept))
    return concept_contrast(vectors.float(), concept)


def to_device(value: Any, device: torch.device) -> Any:
    """Return a copy of nested records with every tensor on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(item, device) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        moved = {
            f.name: to_device(getattr(value, f.name), device) for f in fields(value)
        }
        return replace(value, **moved)
    return value
