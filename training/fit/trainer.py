"""Own the network, its moving average, the optimiser and the step counter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.config import MedGLIPConfig
from model.medglip import MedGLIP
from model.modality import MODALITIES
from model.processor import Processor
from training.batch import Batch
from training.config import StageConfig, TrainingConfig
from training.errors import ConfigError, TrainingError
from training.fit.average import MovingAverage
from training.fit.learner import Learner, Lesson, set_task, to_device
from training.fit.provenance import Fitted, data_of, metadata_of
from training.fit.schedule import rate_factor
from training.fit.shards import (
    clip_gradients,
    gather,
    gather_nested,
    scatter,
    shard_module,
    share_gradients,
)
from training.fit.state import read_state, write_folder, write_state
from training.fit.world import World

__all__ = ["Trainer"]

_CAREFUL = ("core", "reader")
"""Modules that learn at ``core_learning_rate``: attention, and a text encoder that
came trained."""


class Trainer:
    """Take optimiser steps, one stage after the other.

    All chance of a step comes from the seed and the step's number, so a run that was
    stopped and continued takes the same steps as one that was not.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        world: World | None = None,
        processor: Processor | None = None,
    ) -> None:
        self.config = config
        self.world = world or World()
        self.processor = processor or Processor(config.model)
        torch.manual_seed(config.seed)
        self.model = MedGLIP(config.model).to(self.world.device)
        self.learner = Learner(self.model, config)
        self.is_sharded = config.fsdp and self.world.size > 1
        self._whole = shard_module(self.learner) if self.is_sharded else []
        self.average = MovingAverage(self.model, decay=config.ema)
        self.optimizer = torch.optim.AdamW(
            _groups(self.model, config),
            betas=(0.9, 0.98),
            foreach=False if self.is_sharded else None,  # shards beside whole ones
        )
        self.data: set[Fitted] = set(data_of(config))
        """What the weights come from; a start from a checkpoint adds to it"""
        self.step = 0
        self._stage: StageConfig | None = None
        self._runner: nn.Module = self.learner

    def learn(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Take one optimiser step on ``config.accumulate`` batches.

        Returns
        -------
        Losses before their weights, ``total`` and the ``gradient`` norm before
        clipping: means over the batches, of this process.
        """
        config = self.config
        stage, done = config.stage_at(self.step)
        self._enter(stage, done)
        rate = rate_factor(stage, done)
        for group in self.optimizer.param_groups:
            own = getattr(stage, group["rate"])
            group["lr"] = rate * (
                getattr(config, group["rate"]) if own is None else own
            )
        torch.manual_seed(config.seed + self.step)  # dropout and noise, resumable
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            is_last = number == len(batches) - 1
            with nullcontext() if is_last else self._apart():
                losses = self._losses(batch, stage, done=done, number=number)
                (losses["total"] / len(batches)).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(batches)
        share_gradients(self._whole)
        sums["gradient"] = clip_gradients(self.learner.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        self.average.follow(self.model, step=self.step)
        return sums

    def _losses(
        self, batch: Batch, stage: StageConfig, *, done: int, number: int
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._runner(
            self.prepare(batch, stage, done=done, number=number)
        )
        weights = self.config.loss_weights
        total = sum(
            weights[name.partition(".")[0]] * value for name, value in losses.items()
        )
        return {**losses, "total": torch.as_tensor(total)}

    def prepare(
        self, batch: Batch, stage: StageConfig, *, done: int = 0, number: int = 0
    ) -> Lesson:
        """Read the words of a batch and draw what the core is asked."""
        config = self.config
        weights = config.loss_weights
        wanted = {n for n in stage.losses or weights if weights[n] > 0}
        every = config.core_every if stage.core_every is None else stage.core_every
        asks_core = config.model.core and bool(wanted & {"core", "taco"})
        task = None
        if asks_core and every and done % every == 0:
            some = stage.core_pictures
            task = set_task(
                batch,
                config,
                pictures=config.core_pictures if some is None else some,
                seed=(config.seed, 3, self.step, number, self.world.rank),
            )
        modality = [MODALITIES[i] for i in batch.modality.tolist()]
        text = self.processor.read(
            batch.phrases,
            modality=modality,
            body_part=batch.body_part,
            attributes=batch.attributes or None,
            parent=batch.parent,
        )
        more = None
        if "words" in wanted and batch.contrast_phrases:
            more = self.processor.read(batch.contrast_phrases)
        lesson = Lesson(batch, text, more, task, frozenset(wanted))
        moved: Lesson = to_device(lesson, self.world.device)
        return moved

    def _enter(self, stage: StageConfig, done: int) -> None:
        """Start a stage, or find back into it: who learns, who stands still."""
        if self._stage == stage and done:
            return
        if stage.from_average and done == 0:
            self.average.give_to(self.model)
        count = stage.hypotheses or self.config.model.hypotheses
        self.model.config = replace(self.config.model, hypotheses=count)
        names = [name for name, _ in self.model.named_parameters()]
        for prefix in stage.train:
            if not any(_is_under(name, prefix) for name in names):
                raise ConfigError(f"stage {stage.name}: no module {prefix}")
        for name, parameter in self.model.named_parameters():
            learns = not stage.train or any(_is_under(name, p) for p in stage.train)
            parameter.requires_grad_(learns)
        for module in self.model.modules():
            own = list(module.parameters())
            module.training = not own or any(p.requires_grad for p in own)
        self.model.training = True
        self._stage = stage
        self._runner = self.learner
        if self.world.size > 1 and not self.is_sharded:
            # Who learns differs between stages, and the core rests at most steps.
            self._runner = DistributedDataParallel(
                self.learner, find_unused_parameters=True, broadcast_buffers=False
            )

    def _apart(self) -> Any:
        """Keep gradients of a batch that is not the step's last to this process."""
        if isinstance(self._runner, DistributedDataParallel):
            return self._runner.no_sync()
        return nullcontext()

    def check(self, losses: dict[str, float]) -> None:
        """Refuse to go on after a loss that is no number.

        Raises
        ------
        TrainingError
            The run has diverged.
        """
        if not math.isfinite(losses["total"]):
            raise TrainingError(
                f"the loss is no number at step {self.step}: lower the learning rate"
            )

    def save(self, folder: Path, **others: Any) -> None:
        """Write the averaged network for use, then the whole state for resuming.

        Every process has to call it; the first one writes. `others` are plain values
        that :meth:`resume` returns; each process gets its own back.
        """
        average = self.average.state_dict()
        state = {
            "step": self.step,
            "model": {n: gather(v) for n, v in _tensors(self.model).items()},
            "average": average,
            "optimizer": gather_nested(self.optimizer.state_dict()),
            "random": torch.get_rng_state(),
            "data": [asdict(one) for one in sorted(self.data)],
            "others": self.world.gather(others),
        }
        if self.world.is_first:
            texts = metadata_of(self.data)
            write_folder(
                lambda aside: _export(self.config.model, average, texts, aside), folder
            )
            write_state(state, folder)
        self.world.wait()

    def resume(self, folder: Path) -> dict[str, Any]:
        """Continue exactly where :meth:`save` left off.

        Raises
        ------
        ConfigError
            The state is damaged, of another network or of another number of processes.
        """
        state = read_state(folder)
        if len(state["others"]) != self.world.size:
            raise ConfigError(
                f"the run had {len(state['others'])} processes, now {self.world.size}"
            )
        own = _tensors(self.model)
        if set(own) != set(state["model"]):
            raise ConfigError("the saved run is one of another network")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(scatter(state["model"][name], value))
        self.average.load_state_dict(state["average"])
        self._load_optimizer(state["optimizer"])
        self.step = state["step"]
        self.data |= {Fitted(**one) for one in state.get("data", ())}
        torch.set_rng_state(state["random"])
        mine: dict[str, Any] = state["others"][self.world.rank]
        return mine

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        if self.is_sharded:
            for index, values in state["state"].items():
                for name, value in values.items():
                    if value.dim():
                        values[name] = scatter(value, parameters[index])
        self.optimizer.load_state_dict(state)


def _groups(model: MedGLIP, config: TrainingConfig) -> list[dict[str, Any]]:
    """Part the parameters by the setting that holds their learning rate."""
    careful: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_careful = any(_is_under(name, prefix) for prefix in _CAREFUL)
        (careful if is_careful else rest).append(parameter)
    groups = [("learning_rate", rest), ("core_learning_rate", careful)]
    return [
        {"params": some, "rate": rate, "weight_decay": config.weight_decay}
        for rate, some in groups
        if some
    ]


def _is_under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _export(
    config: MedGLIPConfig,
    state: dict[str, Tensor],
    texts: dict[str, str],
    folder: Path,
) -> None:
    """Write whole weights as a checkpoint folder."""
    with torch.device("meta"):
        model = MedGLIP(config)
    model.load_state_dict(state, strict=False, assign=True)
    model.save_pretrained(folder, metadata=texts)
