"""Train MedGLIP on the open volumes; reproducible, resumable, on one CPU thread."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.core import Detections
from model.medglip import MedGLIP
from model.text import TextEncoder
from training.config import TrainingConfig
from training.derived.slices import Batch, SliceStream, collate
from training.derived.volumes import (
    LabelledVolume,
    known_concepts,
    load_training_volumes,
    structure_table,
)
from training.losses.core import core_loss
from training.losses.targets import (
    choose_concepts,
    choose_core_phrases,
    phrase_masks,
    region_targets,
)
from training.losses.terms import concept_contrast, dense_loss, presence_loss
from training.phrases import Lexicon, load_lexicon

__all__ = ["PhraseBank", "Trainer", "fit"]

_STATE_FILE = "state.pt"


class Trainer:
    """Own the model, its moving average, the optimiser and the step counter."""

    def __init__(
        self,
        config: TrainingConfig,
        volumes: tuple[LabelledVolume, ...],
        *,
        lexicon: Lexicon | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.volumes = volumes
        self.lexicon = lexicon or load_lexicon()
        self.text = PhraseBank(TextEncoder(config.model), self.lexicon)
        self.model = MedGLIP(config.model)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.step = 0
        core = list(self.model.core.parameters())
        mine = {id(parameter) for parameter in core}
        rest = [p for p in self.model.parameters() if id(p) not in mine]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": rest, "base": config.learning_rate},
                {"params": core, "base": config.core_learning_rate},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )
        self._table = torch.from_numpy(structure_table(self.lexicon))
        self._known = torch.from_numpy(
            np.stack([known_concepts(volume, self.lexicon) for volume in volumes])
        )
        self._absent = np.array([c.kind == "absent" for c in self.lexicon.concepts])

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step and return its losses."""
        config = self.config
        rng = np.random.default_rng((config.seed, 1, self.step))
        self.model.train()
        torch.manual_seed(config.seed + self.step)  # dropout and noise, resumable
        if self.step == config.steps:
            self.model.load_state_dict(self.average.state_dict())
        alone = self.step >= config.steps
        self._set_learning_rate(core_alone=alone)
        if alone:
            losses = self._core_losses(batch, rng)
        else:
            with_core = self.step % config.core_every == 0
            losses = self._losses(batch, rng, with_core=with_core)
        total = sum(losses.values(), torch.zeros(()))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        self._follow()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(
        self, batch: Batch, rng: np.random.Generator, *, with_core: bool
    ) -> dict[str, Tensor]:
        config = self.config
        chosen = self._draw_concepts(batch, rng)
        concepts = self.lexicon.concepts
        wordings = [self.lexicon.draw(concepts[i], rng) for i in chosen]
        extra = _pairs(len(concepts), config.contrast_phrases, rng)
        more = [self.lexicon.draw(concepts[i], rng) for i in extra]
        vectors = self._embed([*wordings, *more])
        phrases = vectors[: len(wordings)]

        masks = phrase_masks(self._table[chosen], batch.labels)
        known = self._known[batch.volume][:, chosen]
        area = masks.sum((2, 3))
        core_rows = None
        if with_core:
            some = config.core_pictures
            core_rows = choose_core_phrases(area[:some], rng, count=config.core_phrases)
        output = self.model(
            batch.pixels, batch.modality, phrases, core_phrases=core_rows
        )
        losses = {
            "dense": dense_loss(output.mask_logits, masks, known),
            "presence": 0.5 * presence_loss(output.presence_logits, area, known),
            "words": 0.3
            * concept_contrast(
                vectors, torch.from_numpy(np.concatenate([chosen, extra]))
            ),
        }
        if core_rows is not None:
            losses["core"] = _core_term(output.detections, core_rows, masks, known)
        return losses

    def _core_losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Teach the core on every picture of the batch; the rest stands still."""
        chosen = self._draw_concepts(batch, rng)
        wordings = [self.lexicon.draw(self.lexicon.concepts[i], rng) for i in chosen]
        masks = phrase_masks(self._table[chosen], batch.labels)
        known = self._known[batch.volume][:, chosen]
        count = self.config.core_phrases
        rows = choose_core_phrases(masks.sum((2, 3)), rng, count=count)
        self.model.eval()
        with torch.no_grad():
            phrases = self._embed(wordings)
            pyramid = self.model.trunk(batch.pixels, batch.modality)
        every = torch.ones_like(rows, dtype=torch.bool)
        detections = self.model.core.train()(pyramid, phrases[rows], every)
        return {"core": _core_term(detections, rows, masks, known)}

    def _draw_concepts(
        self, batch: Batch, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        pixels = torch.bincount(
            batch.labels.flatten(), minlength=self._table.shape[1]
        ).double()
        areas = (self._table.double() @ pixels).numpy()
        count = min(self.config.phrases, len(areas))
        return choose_concepts(areas, self._absent, rng, count=count)

    def _embed(self, phrases: list[str]) -> Tensor:
        hidden, mask = self.text(phrases)
        noise = torch.randn_like(hidden) * self.config.text_noise
        noisy = hidden + noise * mask[..., None]
        vectors: Tensor = self.model.phrase_adapter(noisy, mask)
        return vectors

    def _set_learning_rate(self, *, core_alone: bool) -> None:
        config = self.config
        if core_alone:
            done = (self.step - config.steps) / max(1, config.core_steps)
            ramp = 1.0
        else:
            done = self.step / max(1, config.schedule_steps or config.steps)
            ramp = min(1.0, (self.step + 1) / config.warmup)
            if config.cooldown:
                ramp *= min(1.0, (config.steps - self.step) / config.cooldown)
        factor = 0.5 * (1 + math.cos(math.pi * min(1.0, done))) * 0.99 + 0.01
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor * ramp

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; faster while the run is young."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for mean, now in zip(
            self.average.parameters(), self.model.parameters(), strict=True
        ):
            mean.lerp_(now, 1 - decay)

    def save(self, folder: Path) -> None:
        """Write the averaged model for use and the whole state for resuming."""
        self.average.save_pretrained(folder)
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, folder / "state.part")
        (folder / "state.part").replace(folder / _STATE_FILE)

    def resume(self, folder: Path) -> None:
        """Continue exactly where :meth:`save` left off."""
        state: dict[str, Any] = torch.load(folder / _STATE_FILE, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


class PhraseBank:
    """Hold the token states of every training wording: the encoder is frozen."""

    def __init__(self, encoder: TextEncoder, lexicon: Lexicon) -> None:
        phrases = sorted(
            {text for c in lexicon.concepts for text in lexicon.wordings(c)},
            key=lambda text: (len(text.split()), text),
        )
        self._states: dict[str, Tensor] = {}
        for start in range(0, len(phrases), 128):
            some = phrases[start : start + 128]
            hidden, mask = encoder.encode(some)
            for phrase, tokens, length in zip(some, hidden, mask.sum(1), strict=True):
                self._states[phrase] = tokens[: int(length)].clone()

    def __call__(self, phrases: list[str]) -> tuple[Tensor, Tensor]:
        """Return states (phrases, tokens, 384) and mask of known wordings."""
        rows = [self._states[phrase] for phrase in phrases]
        hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.zeros(hidden.shape[:2], dtype=torch.bool)
        for row, tokens in enumerate(rows):
            mask[row, : len(tokens)] = True
        return hidden, mask


def _core_term(
    detections: Detections, rows: Tensor, masks: Tensor, known: Tensor
) -> Tensor:
    """Compare detections with the regions of the phrases that were asked."""
    targets = [
        region_targets(masks[i][some] * known[i][some][:, None, None])
        for i, some in enumerate(rows)
    ]
    sure = torch.stack([known[i][some] for i, some in enumerate(rows)])
    return 0.1 * core_loss(detections, targets, sure)


def _pairs(concepts: int, count: int, rng: np.random.Generator) -> Any:
    """Draw `count` concept numbers so that each comes twice."""
    half = rng.choice(concepts, size=min(concepts, count // 2), replace=False)
    return np.repeat(half, 2)


def fit(config: TrainingConfig, reference: Path, out: Path) -> Path:
    """Run a training to its end and return the checkpoint folder.

    An interrupted run in `out` is continued; the result is the same as without the
    interruption.
    """
    torch.set_num_threads(config.threads)
    trainer = Trainer(config, load_training_volumes(reference))
    out.mkdir(parents=True, exist_ok=True)
    config.save(out)
    if (out / _STATE_FILE).exists():
        trainer.resume(out)
    stream = SliceStream(
        trainer.volumes,
        config=config.model,
        shape=(config.rows, config.columns),
        weights=config.volume_weights,
        seed=config.seed,
        start=trainer.step * config.batch,
    )
    loader = DataLoader(
        stream,
        batch_size=config.batch,
        num_workers=config.workers,
        collate_fn=collate,
        prefetch_factor=4 if config.workers else None,
    )
    smooth: dict[str, float] = {}
    with (
        (out / "metrics.jsonl").open("a", encoding="utf-8") as log,
        tqdm(
            initial=trainer.step, total=config.steps + config.core_steps, mininterval=5
        ) as bar,
    ):
        for batch in loader:
            if trainer.step >= config.steps + config.core_steps:
                break
            losses = trainer.learn(batch)
            for name, value in losses.items():
                smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in smooth.items()}, refresh=False)
            if trainer.step % 20 == 0:
                log.write(json.dumps({"step": trainer.step, **smooth}) + "\n")
                log.flush()
            if trainer.step % config.save_every == 0:
                trainer.save(out)
    trainer.save(out)
    return out
