"""Yield batches from shards for ever: shuffled, shared out, resumable to the sample.

Batch ``n`` takes draws ``n * batch`` to ``(n + 1) * batch - 1`` of one endless order
that all processes agree on; process ``r`` of ``w`` yields batches ``r``, ``r + w``, ...
and its workers share those out. Which samples a batch holds, and how they are cropped
and worded, hangs on the seed and on ``n`` alone. So the state is one number, and memory
does not grow with the data or with time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from model.config import MedGLIPConfig
from training.batch import Batch
from training.errors import ConfigError
from training.layout import SHARDS_FILE, Shard
from training.stream.census import take_census
from training.stream.drawing import BatchDrawer, DrawnBatch, NumberedBatches
from training.stream.order import BalancedOrder, Order, ShuffledOrder, group_shares
from training.stream.permutation import key_of
from training.stream.store import SampleStore, ShardStore, shards_of

__all__ = ["ShardStream"]

_log = logging.getLogger(__name__)


class ShardStream:
    """Batches of a build; a ``training.batch.BatchStream``.

    Parameters
    ----------
    folder
        A finished build (`training.layout`).
    shape
        (rows, columns) of every picture, multiples of 16.
    batch
        Pictures per batch.
    phrases
        Phrases per batch at most.
    contrast_phrases
        More wordings for the text objective.
    rank, world
        Process `rank` of `world` yields every `world`-th batch.
    workers
        Processes that decode; 0: the calling one. The batches are the same.
    split
        train, val or test.
    balance
        None: every sample once per epoch. Else each dataset, modality and label
        counts its number of samples to this power: 0.5 as in SAT, 0 all alike.
    weights, shares
        With `balance`: a curriculum and a replay, see `group_shares`. Patterns are of
        ``dataset/modality/label``.
    window
        Without `balance`: shards that are mixed with each other; 0: all.
    augment
        Draw zoom, crop, brightness and mirror images; else all are as in serving.
    mirror
        Share of pictures that are mirrored, where words allow it. None by default: a
        word list knows no anatomy that is in the picture and not in its words.
    skip_bad
        Leave damaged samples out, counted in `bad_samples`; else they raise.
    store
        Where samples come from instead of the build's tar files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
        batch: int,
        phrases: int,
        contrast_phrases: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        split: str = "train",
        balance: float | None = None,
        weights: Mapping[str, float] | None = None,
        shares: Mapping[str, float] | None = None,
        window: int = 0,
        augment: bool = True,
        mirror: float = 0.0,
        skip_bad: bool = False,
        store: SampleStore | None = None,
    ) -> None:
        if batch < 1 or phrases < 1 or workers < 0 or not 0 <= rank < world:
            raise ConfigError("batch, phrases, workers, rank or world make no sense")
        if (weights or shares) and balance is None:
            raise ConfigError("weights and shares need a balanced order")
        folder = Path(folder)
        shards = shards_of(folder, split)
        self.bad_samples = 0
        self._rank, self._world, self._workers = rank, world, workers
        self._first = self._done = 0
        self._loader: Iterator[DrawnBatch] | None = None
        settings = (seed, split, batch, balance, weights, shares, window)
        listed = (folder / SHARDS_FILE).read_text(encoding="utf-8")
        self._identity = f"{key_of(*map(str, settings), listed):016x}"
        self._drawer = BatchDrawer(
            store=ShardStore(folder, shards) if store is None else store,
            order=_order(
                folder,
                shards,
                balance=balance,
                weights=weights,
                shares=shares,
                seed=seed,
                window=window,
            ),
            config=config,
            shape=shape,
            batch=batch,
            phrases=phrases,
            contrast_phrases=contrast_phrases,
            seed=seed,
            mirror=mirror if augment else None,
            skip_bad=skip_bad,
        )

    def __iter__(self) -> ShardStream:
        return self

    def __next__(self) -> Batch:
        if self._loader is None:
            self._loader = self._start()
        result = next(self._loader)
        self._done += 1
        self.bad_samples += len(result.bad)
        for line in result.bad:
            _log.warning("bad_sample_skipped line=%d", line)
        return result.batch

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last yielded batch.

        All processes of a run are at the same place when each has yielded as many
        batches, so any of their states serves all of them, and another number of
        processes, too.
        """
        return {
            "batches": self._first + self._done * self._world,
            "identity": self._identity,
            "bad_samples": self.bad_samples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place; the next batch is the one that would have followed it.

        Raises
        ------
        ConfigError
            The state is of other data, another seed, batch size or order.
        """
        if state["identity"] != self._identity:
            raise ConfigError(
                "the state belongs to other shards, or to another order of them"
            )
        self._first, self._done = int(state["batches"]), 0
        self.bad_samples = int(state["bad_samples"])
        self._loader = None

    def _start(self) -> Iterator[DrawnBatch]:
        first = self._first + self._done * self._world + self._rank
        loader: Any = DataLoader(
            NumberedBatches(self._drawer, first, self._world),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=2 if self._workers else None,
            generator=torch.Generator(),  # leaves the global one alone
        )
        return iter(loader)


def _order(
    folder: Path,
    shards: tuple[Shard, ...],
    *,
    balance: float | None,
    weights: Mapping[str, float] | None,
    shares: Mapping[str, float] | None,
    seed: int,
    window: int,
) -> Order:
    if balance is None:
        return ShuffledOrder(
            [shard.first for shard in shards],
            [shard.samples for shard in shards],
            seed=seed,
            window=window,
        )
    census = take_census(folder, shards)
    groups = [census.group(i) for i in range(len(census.names))]
    parts = group_shares(
        census.names, census.sizes, power=balance, weights=weights, shares=shares
    )
    return BalancedOrder(groups, parts, seed=seed)
