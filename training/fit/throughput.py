"""Measure how fast we train beside the plain stock model, on the same data."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

from model.medglip import MedGLIPOutput
from training.batch import Batch
from training.config import StageConfig, TrainingConfig
from training.fit.stock import StockTrainer
from training.fit.toy import ToyStream
from training.fit.toy_run import TOY
from training.fit.trainer import Trainer
from training.fit.world import World

__all__ = ["add_throughput_arguments", "measure_throughput", "throughput_command"]


def measure_throughput(
    config: TrainingConfig = TOY,
    *,
    device: str = "cpu",
    rounds: int = 5,
    steps: int = 4,
) -> dict[str, Any]:
    """Time whole optimiser steps of both, taking turns, and return what was found.

    Ours learns masks, presence and words besides the boxes; the stock model learns
    boxes alone. On a GPU both are also timed with bfloat16 autocast and compiled, and
    our answers of each way are compared with those in full precision.

    Parameters
    ----------
    rounds
        Turns of each; the median counts.
    steps
        Batches per turn, drawn beforehand: drawing is not timed.
    """
    place = torch.device(device)
    stream = ToyStream(
        config=config.model, shape=(config.rows, config.columns), batch=config.batch
    )
    batches = [next(stream) for _ in range(steps)]
    ways = [("float32", False)]
    if place.type == "cuda":
        ways += [("bfloat16", False), ("bfloat16", True)]
    return {
        "device": _name(place),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "pictures": [config.batch, config.rows, config.columns],
        "rounds": rounds,
        "steps_per_round": steps,
        "ways": [
            _compare(
                config,
                batches,
                place=place,
                rounds=rounds,
                precision=precision,
                is_compiled=is_compiled,
            )
            for precision, is_compiled in ways
        ],
    }


def _compare(
    config: TrainingConfig,
    batches: list[Batch],
    *,
    place: torch.device,
    rounds: int,
    precision: Any,
    is_compiled: bool,
) -> dict[str, Any]:
    ours = Trainer(replace(config, precision=precision), world=World(device=place))
    parity = _parity(ours, batches[0], precision=precision, is_compiled=is_compiled)
    alone = Trainer(
        replace(_boxes_alone(config), precision=precision), world=World(device=place)
    )
    if is_compiled:
        ours.model.compile()
        alone.model.compile()
    stock = StockTrainer(
        config, device=place, precision=precision, is_compiled=is_compiled
    )
    learners: dict[str, Callable[[Batch], Any]] = {
        "ours": lambda batch: ours.learn([batch]),
        "ours, boxes alone": lambda batch: alone.learn([batch]),
        "stock": stock.learn,
    }
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    for learn in learners.values():  # both have to warm up, and to compile
        for batch in batches:
            learn(batch)
    for number in range(rounds):
        order = list(learners) if number % 2 == 0 else list(learners)[::-1]
        for name in order:
            seconds[name].append(_time(learners[name], batches, place))
    pictures = len(batches) * config.batch
    speed = {name: pictures / median(values) for name, values in seconds.items()}
    return {
        "precision": precision,
        "compiled": is_compiled,
        "pictures_per_second": speed,
        "ratio_to_stock": {
            name: value / speed["stock"]
            for name, value in speed.items()
            if name != "stock"
        },
        "ratio_per_round": {
            name: [
                theirs / mine
                for mine, theirs in zip(values, seconds["stock"], strict=True)
            ]
            for name, values in seconds.items()
            if name != "stock"
        },
        "parameters": {
            "ours": sum(p.numel() for p in ours.model.parameters()),
            "stock": stock.parameters,
        },
        "parity": parity,
    }


def _boxes_alone(config: TrainingConfig) -> TrainingConfig:
    """Return settings under which ours learns what the stock model learns."""
    weights = dict.fromkeys(config.loss_weights, 0.0) | {"core": 1.0}
    return replace(config, loss_weights=weights, denoising_groups=0)


def _time(
    learn: Callable[[Batch], Any], batches: list[Batch], place: torch.device
) -> float:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    start = time.perf_counter()
    for batch in batches:
        learn(batch)
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    return time.perf_counter() - start


@torch.no_grad()
def _parity(
    trainer: Trainer, batch: Batch, *, precision: str, is_compiled: bool
) -> dict[str, float]:
    """Return the largest differences of our probabilities from full precision."""
    trainer.learner.eval()
    lesson = trainer.prepare(batch, StageConfig(steps=1, losses=("dense",)))
    model: Any = trainer.model
    inputs = (lesson.batch.pixels, lesson.batch.modality, lesson.text)
    exact: MedGLIPOutput = model(*inputs)
    other: Any = torch.compile(model) if is_compiled else model
    device = lesson.batch.pixels.device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        found: MedGLIPOutput = other(*inputs)
    trainer.learner.train()
    return {
        name: float(
            (
                getattr(exact, name).float().sigmoid()
                - getattr(found, name).float().sigmoid()
            )
            .abs()
            .max()
        )
        for name in ("mask_logits", "presence_logits")
    }


def _name(place: torch.device) -> str:
    if place.type == "cuda":
        return str(torch.cuda.get_device_name(place))
    return platform.processor() or platform.machine()


def add_throughput_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`throughput_command` takes."""
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=5, help="turns; default: 5")
    parser.add_argument("--steps", type=int, default=4, help="batches; default: 4")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")


def throughput_command(chosen: argparse.Namespace) -> None:
    """Measure the CPU, and a GPU if there is one, and write what was found."""
    torch.set_num_threads(chosen.threads)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = [
        measure_throughput(device=device, rounds=chosen.rounds, steps=chosen.steps)
        for device in devices
    ]
    chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
