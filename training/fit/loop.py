"""Run a training from its settings to its checkpoint: stages, record, pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.medglip import init_from
from training.batch import BatchStream
from training.config import StageConfig, TrainingConfig
from training.errors import ConfigError
from training.fit.log import MetricLog
from training.fit.mixing import MixedStream
from training.fit.pictures import draw_predictions
from training.fit.provenance import data_of_checkpoint
from training.fit.sources import build_stream
from training.fit.state import STATE_FILE
from training.fit.trainer import Trainer
from training.fit.world import World, start_world

__all__ = ["fit", "fit_command"]

_CARRIERS = ("trunk.", "phrase_adapter.")
"""Modules without which a start from another checkpoint is no start."""


def fit(
    config: TrainingConfig,
    stream: BatchStream,
    out: Path,
    *,
    init: Path | None = None,
    resume: bool = False,
    world: World | None = None,
) -> Path:
    """Run a training to its end and return the checkpoint folder.

    Parameters
    ----------
    stream
        Of this process; a :class:`MixedStream` follows the weights of the stages.
    out
        Folder for the checkpoint, ``state.pt``, ``metrics.jsonl`` and pictures.
    init
        Checkpoint folder whose weights are taken where name and shape agree.
    resume
        Continue the run in `out`, if there is one; the result is the same as without
        the interruption.

    Raises
    ------
    ConfigError
        `out` holds a run and `resume` is False, or the run is another one; or the
        licence of a source is not known.
    TrainingError
        The loss is no number any more.
    """
    torch.set_num_threads(config.threads)
    world = world or World()
    has_state = (out / STATE_FILE).exists()
    if has_state and not resume:
        raise ConfigError(f"{out} holds a run: say --resume, or name another --out")
    trainer = Trainer(config, world=world)
    if init is not None and not has_state:
        _start_from(trainer, init)
    out.mkdir(parents=True, exist_ok=True)
    others: dict[str, Any] = {}
    if has_state:
        others = trainer.resume(out)
        stream.load_state_dict(others["stream"])
    if world.is_first:
        config.save(out)
    with _record(out, trainer, others) as log:
        _run(trainer, stream, out, log)
    return out


def _run(
    trainer: Trainer, stream: BatchStream, out: Path, log: MetricLog | None
) -> None:
    config, world = trainer.config, trainer.world
    stage: StageConfig | None = None
    is_saved = True
    with tqdm(
        initial=trainer.step,
        total=config.total_steps,
        mininterval=5,
        disable=not world.is_first,
    ) as bar:
        while trainer.step < config.total_steps:
            new = config.stage_at(trainer.step)[0]
            if new != stage and isinstance(stream, MixedStream):
                own = {source.name: source.weight for source in config.sources}
                stream.reweigh({**own, **new.sources})
            stage = new
            batches = [next(stream) for _ in range(config.accumulate)]
            losses = trainer.learn(batches)
            is_saved = False
            bar.update()
            if log is not None:
                log.add(losses)
            if trainer.step % config.log_every == 0:
                _report(trainer, log, bar, stage)
            if config.picture_every and trainer.step % config.picture_every == 0:
                _draw(trainer, batches[0], out, log)
            if trainer.step % config.save_every == 0:
                _save(trainer, stream, out, log)
                is_saved = True
        if stage is not None and trainer.step % config.log_every:
            _report(trainer, log, bar, stage)
    if not is_saved:
        _save(trainer, stream, out, log)


def _report(
    trainer: Trainer, log: MetricLog | None, bar: Any, stage: StageConfig
) -> None:
    if log is not None:
        rate = trainer.optimizer.param_groups[0]["lr"]
        means = log.write(trainer.step, learning_rate=rate)
        shown = {k: f"{v:.3f}" for k, v in means.items() if "." not in k}
        shown.pop("learning_rate")
        bar.set_description(stage.name, refresh=False)
        bar.set_postfix(shown, refresh=False)
        trainer.check(means)


def _save(
    trainer: Trainer, stream: BatchStream, out: Path, log: MetricLog | None
) -> None:
    if log is not None and (means := log.means()):
        trainer.check(means)
    trainer.save(
        out,
        stream=stream.state_dict(),
        log={} if log is None else log.state_dict(),
    )


def _draw(trainer: Trainer, batch: Any, out: Path, log: MetricLog | None) -> None:
    if trainer.is_sharded or trainer.world.is_first:
        path = draw_predictions(trainer, batch, out / "pictures")
        if log is not None:
            log.add_picture(path, trainer.step)


def _start_from(trainer: Trainer, folder: Path) -> None:
    if trainer.is_sharded:
        raise ConfigError(
            "--init and fsdp do not go together: start from a whole model"
        )
    try:
        fresh = init_from(trainer.model, folder)
        trainer.data.update(data_of_checkpoint(folder))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} cannot be started from: {error}") from error
    named = dict(trainer.model.named_parameters())
    missed = sorted(name for name in fresh if name.startswith(_CARRIERS))
    if missed:
        raise ConfigError(
            f"{folder} is of another shape: {missed[0]} and {len(missed) - 1} more "
            "weights of the trunk and the phrases do not fit"
        )
    if trainer.world.is_first:
        sys.stderr.write(f"started from {folder}: {len(fresh)} of {len(named)} fresh\n")
    trainer.average.take(trainer.model)


@contextmanager
def _record(
    out: Path, trainer: Trainer, others: dict[str, Any]
) -> Iterator[MetricLog | None]:
    """Open the record on the first process; the others keep none."""
    if not trainer.world.is_first:
        yield None
        return
    log = MetricLog(out, step=trainer.step, tensorboard=trainer.config.tensorboard)
    if others:
        log.load_state_dict(others["log"])
    try:
        yield log
    finally:
        log.close()


def fit_command(options: argparse.Namespace) -> Path:
    """Run ``python -m training fit``; under ``torchrun``, one process of it.

    Parameters
    ----------
    options
        What :func:`training.fit.arguments.add_fit_arguments` declares.
    """
    config = TrainingConfig.load(options.config, options.changes)
    out = options.out or Path("runs") / options.config.stem
    with start_world(config.device) as world:
        stream = build_stream(config, world)
        folder = fit(
            config,
            stream,
            out,
            init=options.init,
            resume=options.resume,
            world=world,
        )
        if world.is_first:
            sys.stdout.write(f"{folder}\n")
        return folder
