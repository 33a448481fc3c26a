"""Word labelled pictures without end: draw, ask, look up, cut into regions.

Everything is done in the worker process, from generators that the seed and the
number of the batch or picture determine alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from model.config import MedGLIPConfig
from model.modality import modality_index
from model.processing import normalise_units, window_channels
from training.batch import Batch
from training.derived.source import (
    LabelledPicture,
    SliceSource,
    concept_table,
    known_concepts,
)
from training.errors import ConfigError
from training.losses.targets import choose_concepts, picture_regions
from training.phrases import Lexicon

__all__ = ["SliceStream", "parents_of"]


class SliceStream:
    """Yield batches of worded pictures; a ``training.batch.BatchStream``.

    Parameters
    ----------
    sources
        Where pictures come from, mixed within every batch.
    weights
        How often each source is drawn; any positive scale.
    shape
        (rows, columns) of every picture, multiples of 16.
    batch
        Pictures per batch.
    phrases
        Concepts per batch, each in one drawn wording.
    contrast_phrases
        More wordings for the text objective; each of their concepts comes twice.
    rank, world
        Process `rank` of `world` yields every `world`-th batch.
    workers
        Processes that draw; 0: the calling one. The batches are the same.
    """

    def __init__(
        self,
        sources: Sequence[SliceSource],
        *,
        config: MedGLIPConfig,
        lexicon: Lexicon,
        weights: Sequence[float],
        shape: tuple[int, int],
        batch: int,
        phrases: int,
        contrast_phrases: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        if len(sources) != len(weights) or not sources:
            raise ConfigError("a slice stream needs one weight per source")
        self._numbers = (rank, world)
        self._workers = workers
        self._done = 0
        self._loader: Iterator[Batch] | None = None
        self._drawer = _Drawer(
            tuple(sources),
            config=config,
            lexicon=lexicon,
            weights=np.asarray(weights, dtype=np.float64) / sum(weights),
            shape=shape,
            batch=batch,
            phrases=phrases,
            contrast_phrases=contrast_phrases,
            seed=seed,
        )

    def __iter__(self) -> SliceStream:
        return self

    def __next__(self) -> Batch:
        if self._loader is None:
            numbered = _Numbered(self._drawer, self._done, *self._numbers)
            loader: Any = DataLoader(
                numbered,
                batch_size=None,
                num_workers=self._workers,
                prefetch_factor=2 if self._workers else None,
                generator=torch.Generator(),  # leaves the global one alone
            )
            self._loader = iter(loader)
        batch = next(self._loader)
        self._done += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches this process has taken."""
        return {"batches": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after so many batches."""
        self._done = int(state["batches"])
        self._loader = None


class _Numbered(IterableDataset[Batch]):
    """Deal the numbers of batches to processes and their workers."""

    def __init__(self, drawer: _Drawer, start: int, rank: int, world: int) -> None:
        self._drawer, self._start = drawer, start
        self._rank, self._world = rank, world

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        mine = self._start + (worker.id if worker else 0)
        while True:
            yield self._drawer.draw(mine * self._world + self._rank)
            mine += worker.num_workers if worker else 1


class _Drawer:
    """Draw batch `number`; holds the tables that turn labels into phrases."""

    def __init__(
        self,
        sources: tuple[SliceSource, ...],
        *,
        config: MedGLIPConfig,
        lexicon: Lexicon,
        weights: NDArray[np.float64],
        shape: tuple[int, int],
        batch: int,
        phrases: int,
        contrast_phrases: int,
        seed: int,
    ) -> None:
        self._sources, self._config, self._lexicon = sources, config, lexicon
        self._weights, self._shape, self._seed = weights, shape, seed
        self._batch, self._contrast = batch, contrast_phrases
        self._phrases = min(phrases, len(lexicon.concepts))
        self._tables = [concept_table(source, lexicon) for source in sources]
        self._known = np.stack([known_concepts(s, lexicon) for s in sources])
        self._absent = np.array([c.kind == "absent" for c in lexicon.concepts])
        self._members = [frozenset(c.members) for c in lexicon.concepts]

    def draw(self, number: int) -> Batch:
        """Return the batch, the same whenever and wherever it is drawn."""
        rng = np.random.default_rng((self._seed, 1, number))
        kinds, pictures = [], []
        for i in range(number * self._batch, (number + 1) * self._batch):
            own = np.random.default_rng((self._seed, i))
            kinds.append(int(own.choice(len(self._sources), p=self._weights)))
            source = self._sources[kinds[-1]]
            pictures.append(source.draw(own, config=self._config, shape=self._shape))
        chosen = self._choose(kinds, pictures, rng)
        masks = np.stack(
            [
                _look_up(self._tables[kind][chosen], picture.labels)
                for kind, picture in zip(kinds, pictures, strict=True)
            ]
        )  # (batch, phrases, rows, columns)
        outlined = np.array([picture.is_outlined for picture in pictures])
        outlined = np.repeat(outlined[:, None], len(chosen), axis=1)
        phrases, more, concept = self._word(chosen, rng)
        weight = torch.tensor([picture.weight for picture in pictures])
        return Batch(
            pixels=torch.from_numpy(np.stack([self._see(p) for p in pictures])),
            modality=torch.tensor([modality_index(p.modality) for p in pictures]),
            phrases=phrases,
            masks=torch.from_numpy(masks),
            known=torch.from_numpy(self._known[kinds][:, chosen]),
            outlined=torch.from_numpy(outlined),
            concept=torch.from_numpy(chosen),
            parent=parents_of([self._members[i] for i in chosen]),
            regions=tuple(
                picture_regions(mask, outlined=exact)
                for mask, exact in zip(masks, outlined, strict=True)
            ),
            weight=weight[:, None].repeat(1, len(chosen)),
            contrast_phrases=more,
            contrast_concept=concept,
            body_part=tuple(picture.body_part for picture in pictures),
            sample_ids=tuple(
                f"{self._sources[kind].name}/{number * self._batch + i}"
                for i, kind in enumerate(kinds)
            ),
        )

    def _choose(
        self,
        kinds: list[int],
        pictures: list[LabelledPicture],
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        areas = np.zeros(len(self._absent))
        for kind, picture in zip(kinds, pictures, strict=True):
            table = self._tables[kind]
            pixels = np.bincount(picture.labels.ravel(), minlength=table.shape[1])
            areas += table @ pixels.astype(np.float64)
        return choose_concepts(areas, self._absent, rng, count=self._phrases)

    def _word(
        self, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[tuple[str, ...], tuple[str, ...], torch.Tensor]:
        """Draw one wording per concept, and pairs of wordings of others."""
        concepts, draw = self._lexicon.concepts, self._lexicon.draw
        phrases = tuple(draw(concepts[i], rng) for i in chosen)
        half = rng.choice(
            len(concepts), size=min(len(concepts), self._contrast // 2), replace=False
        )
        extra = np.repeat(half, 2)
        more = tuple(draw(concepts[i], rng) for i in extra)
        return phrases, more, torch.from_numpy(extra)

    def _see(self, picture: LabelledPicture) -> NDArray[np.float32]:
        image = normalise_units(picture.image, picture.modality)
        if len(image) == 1:  # a picture without neighbours stands for them, too
            image = np.repeat(image, len(self._config.slice_offsets_mm), axis=0)
        channels: NDArray[np.float32] = window_channels(torch.from_numpy(image)).numpy()
        return channels


def _look_up(table: NDArray[np.bool_], labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (phrases, rows, columns): where any label plane says the phrase."""
    masks: NDArray[np.bool_] = table[:, labels[0]]
    for plane in labels[1:]:
        masks |= table[:, plane]
    return masks


def parents_of(members: Sequence[frozenset[str]]) -> torch.Tensor:
    """Return (phrases,): row of the smallest phrase that contains each one, or -1.

    Parameters
    ----------
    members
        The structures whose union each phrase means.
    """
    rows = []
    for own in members:
        above = [
            (len(other), row)
            for row, other in enumerate(members)
            if own and own < other
        ]
        rows.append(min(above)[1] if above else -1)
    return torch.tensor(rows, dtype=torch.int64)
