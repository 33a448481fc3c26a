"""Train in processes of its own, so that a test can kill them or start several.

``fit_process.py fit CONFIG ...`` is ``python -m training fit`` without the rest;
``fit_process.py halves OUT [fsdp]`` takes a few steps on its share of doubled batches.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.builders.tiny_model import TINY
from training.batch import Batch, PictureRegions
from training.config import TrainingConfig
from training.fit.arguments import add_fit_arguments
from training.fit.loop import fit_command
from training.fit.toy import ToyStream
from training.fit.trainer import Trainer
from training.fit.world import start_world

__all__ = ["HALVES", "join_batches", "make_toy", "take_steps"]

HALVES = TrainingConfig(
    batch=2,
    rows=48,
    columns=48,
    steps=3,
    core_every=1,
    core_pictures=0,
    core_phrases=6,
    text_noise=0.0,
    attribute_dropout=0.0,
    denoising_groups=0,
    warmup=0,
    # Adam takes full steps along rounding errors. Small ones do not change who is
    # matched with whom, which is a choice that no tolerance covers.
    learning_rate=1e-5,
    core_learning_rate=1e-5,
    model=replace(TINY, slice_offsets_mm=(0.0,)),
)
"""A run without any chance that depends on the number of processes."""


def make_toy(*, rank: int = 0, world: int = 1) -> ToyStream:
    """Return small pictures of shapes; all batches ask the same phrases."""
    return ToyStream(
        config=HALVES.model, shape=(48, 48), batch=2, rank=rank, world=world
    )


def join_batches(first: Batch, second: Batch) -> Batch:
    """Lay two batches of the same phrases side by side."""
    both = {
        name: torch.cat((getattr(first, name), getattr(second, name)))
        for name in ("pixels", "modality", "masks", "known", "outlined", "weight")
    }
    regions: tuple[PictureRegions, ...] = (*first.regions, *second.regions)
    return replace(
        first,
        **both,
        regions=regions,
        body_part=first.body_part + second.body_part,
        sample_ids=first.sample_ids + second.sample_ids,
    )


def take_steps(trainer: Trainer, batches: list[Batch]) -> list[dict[str, float]]:
    """Learn from each batch and return the losses."""
    return [
        {name: float(value) for name, value in trainer.learn([batch]).items()}
        for batch in batches
    ]


def _halves(out: Path, *, fsdp: bool) -> None:
    torch.set_num_threads(1)
    with start_world("cpu") as world:
        stream = make_toy(rank=world.rank, world=world.size)
        batches = [next(stream) for _ in range(HALVES.steps)]
        config = replace(HALVES, fsdp=fsdp)
        trainer = Trainer(config, world=world)
        losses = take_steps(trainer, batches[:2])
        trainer.save(out)
        again = Trainer(config, world=world)
        again.resume(out)
        losses += take_steps(again, batches[2:])
        again.save(out)
        gathered = world.gather(losses)
        if world.is_first:
            torch.save(gathered, out / "losses.pt")


def main() -> None:
    """Run one of the two modes."""
    if sys.argv[1] == "halves":
        _halves(Path(sys.argv[2]), fsdp="fsdp" in sys.argv[3:])
        return
    parser = argparse.ArgumentParser()
    add_fit_arguments(parser)
    fit_command(parser.parse_args(sys.argv[2:]))


if __name__ == "__main__":
    main()
