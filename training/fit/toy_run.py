"""Train on the toy from scratch and say how well it was learned."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from model.config import MedGLIPConfig
from model.medglip import MedGLIPOutput
from model.processor import Processor
from training.batch import Batch
from training.config import StageConfig, TrainingConfig
from training.fit.learner import Lesson
from training.fit.toy import ToyStream
from training.fit.trainer import Trainer
from training.losses.boxes import to_xyxy

__all__ = ["TOY", "ToyScore", "box_iou", "score_toy", "train_toy"]

TOY = TrainingConfig(
    rows=48,
    columns=48,
    batch=8,
    steps=200,
    core_every=1,
    core_pictures=0,
    core_phrases=4,
    learning_rate=3e-3,
    core_learning_rate=1e-3,
    warmup=20,
    ema=0.97,
    loss_weights={**TrainingConfig().loss_weights, "core": 0.3},
    model=MedGLIPConfig(
        name="medglip-toy",
        slice_offsets_mm=(0.0,),
        trunk_channels=(16, 24, 32, 48, 48),
        phrase_dim=48,
        dense_dim=24,
        core_dim=64,
        core_heads=4,
        core_layers=2,
        core_ffn=128,
        core_queries=16,
        core_mask_dim=16,
        hypotheses=1,
    ),
)
"""A network and a run that one core finishes in about a minute."""

_HELD_OUT_SEED = 990
"""Pictures of other seeds than any training on the toy."""


@dataclass(frozen=True)
class ToyScore:
    """How well the toy was learned, on pictures that were not trained on."""

    accuracy: float
    """Acc@0.5: present phrases whose best box overlaps a region of theirs by half"""
    iou: float
    """Mean IoU of the best box with the nearest region of its phrase"""
    auroc: float
    """Presence: chance that a present phrase outscores an absent one"""
    consistency: float
    """Share of (child, parent) pairs of which the parent is at least as likely"""
    phrases: int
    """Present phrases behind `accuracy`"""


def train_toy(
    config: TrainingConfig = TOY, *, processor: Processor | None = None, **world: Any
) -> tuple[Trainer, float]:
    """Train from scratch and return the trainer and the processor seconds it took.

    Parameters
    ----------
    world
        Options of :class:`training.fit.toy.ToyStream`.
    """
    stream = _stream(config, seed=config.seed, **world)
    start = time.process_time()
    trainer = Trainer(config, processor=processor)
    for _ in range(config.total_steps):
        trainer.learn([next(stream)])
    return trainer, time.process_time() - start


@torch.no_grad()
def score_toy(trainer: Trainer, *, batches: int = 12, **world: Any) -> ToyScore:
    """Judge the averaged weights on held-out pictures of the same kind."""
    trainer.average.give_to(trainer.model)
    trainer.learner.eval()
    stream = _stream(trainer.config, seed=_HELD_OUT_SEED, **world)
    overlaps: list[float] = []
    there: list[Tensor] = []
    absent: list[Tensor] = []
    ordered: list[Tensor] = []
    stage = StageConfig(steps=1, losses=("dense",))
    for _ in range(batches):
        batch = next(stream)
        known = replace(batch, known=batch.known)
        lesson = trainer.prepare(known, stage)
        rows = torch.arange(len(batch.phrases)).expand(len(batch.pixels), -1)
        output = _ask(trainer, lesson, rows)
        present = batch.masks.flatten(2).any(-1)
        overlaps += _overlaps(output, batch, present & batch.known)
        there.append(output.presence_logits[present & batch.known])
        absent.append(output.presence_logits[~present & batch.known])
        child = (batch.parent >= 0).nonzero()[:, 0]
        gap = output.presence_logits[:, batch.parent[child]]
        ordered.append(gap >= output.presence_logits[:, child])
    values = torch.tensor(overlaps)
    return ToyScore(
        accuracy=float((values >= 0.5).float().mean()),
        iou=float(values.mean()),
        auroc=_auroc(torch.cat(there), torch.cat(absent)),
        consistency=_share(ordered),
        phrases=len(overlaps),
    )


def _stream(config: TrainingConfig, *, seed: int, **world: Any) -> ToyStream:
    return ToyStream(
        config=config.model,
        shape=(config.rows, config.columns),
        batch=config.batch,
        seed=seed,
        **world,
    )


def _ask(trainer: Trainer, lesson: Lesson, rows: Tensor) -> MedGLIPOutput:
    output: MedGLIPOutput = trainer.model(
        lesson.batch.pixels, lesson.batch.modality, lesson.text, asked=rows
    )
    return output


def _overlaps(output: MedGLIPOutput, batch: Batch, asked: Tensor) -> list[float]:
    """Return the IoU of each asked phrase's best box with its nearest region."""
    found = []
    if output.detections is None:
        raise ValueError("the toy is scored by the boxes of the detection core")
    logits, boxes = output.detections.logits[:, -1], output.detections.boxes[:, -1]
    for picture, phrase in asked.nonzero().tolist():
        regions = batch.regions[picture]
        own = regions.boxes[regions.phrase[:, phrase] > 0]
        best = boxes[picture, logits[picture, :, phrase].argmax()]
        found.append(float(box_iou(best[None], own).max()))
    return found


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of centre-size boxes, broadcasting over all but the last axis."""
    a, b = to_xyxy(first), to_xyxy(second)
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared
    return shared / union.clamp(min=1e-9)


def _auroc(positive: Tensor, negative: Tensor) -> float:
    """Return the chance that a positive outscores a negative; ties count half."""
    gap = positive[:, None] - negative[None, :]
    return float((gap > 0).float().mean() + (gap == 0).float().mean() / 2)


def _share(parts: Iterable[Tensor]) -> float:
    values = torch.cat([part.flatten() for part in parts]).float()
    return float(values.mean()) if len(values) else 1.0
