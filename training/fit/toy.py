"""Draw a world of shapes: small enough to learn in a minute, hard enough to tell.

Each picture is noise with one to three shapes; each asks for its own few phrases, at
least one of which is not there. Variants make one thing depend on another: in *two
modalities* "bright" and "dark" change places between CT and MR, in *families* shapes
have parents ("bright shape" contains "bright circle").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import MedGLIPConfig
from model.modality import modality_index
from training.batch import Batch, PictureRegions
from training.errors import ConfigError
from training.fit.sources import SourceRequest
from training.losses.targets import picture_regions

__all__ = ["TOY_LABELS", "ToyStream", "toy_stream"]

_LIGHTS = ("bright", "dark")
_FORMS = ("circle", "square", "cross")
_LABELS = tuple(f"{light} {form}" for light in _LIGHTS for form in _FORMS)
_PARENTS = tuple(f"{light} shape" for light in _LIGHTS)

TOY_LABELS = (*_LABELS, *_PARENTS)
"""All phrases of the toy; the parents are asked only with `families`."""

_OTHER_WORDS = {
    "circle": ("disc", "round spot"),
    "square": ("box", "block"),
    "cross": ("plus", "plus sign"),
    "shape": ("figure", "object"),
}
_ATTRIBUTES = {
    "circle": "round with a smooth margin",
    "square": "four straight sides of equal length",
    "cross": "two bars that meet at right angles",
    "shape": "any figure of this brightness",
}


@dataclass(frozen=True)
class _Shape:
    label: int
    mask: NDArray[np.bool_]


class ToyStream:
    """Yield batches of the toy; batch n depends on the seed and n alone.

    Parameters
    ----------
    phrases_each
        Phrases that a picture asks; the batch asks all labels, and of each picture
        only its own phrases are known.
    two_modalities
        In MR, bright means dark and dark bright.
    families
        Ask the parents, too; every second picture leaves them unannotated.
    words
        Say some labels in other words.
    attributes
        Tell what a phrase looks like (``Batch.attributes``).
    """

    def __init__(
        self,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int] = (64, 64),
        batch: int = 8,
        phrases_each: int = 4,
        two_modalities: bool = False,
        families: bool = False,
        words: bool = False,
        attributes: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if min(shape) < 48:
            raise ConfigError("the shapes of the toy need 48 pixels each way")
        self._channels, self._shape, self._batch = config.input_channels, shape, batch
        self._each = phrases_each
        self._two, self._families = two_modalities, families
        self._words, self._attributes = words, attributes
        self._seed, self._rank, self._world = seed, rank, world
        self._labels = TOY_LABELS if families else _LABELS
        self._done = 0

    def __iter__(self) -> ToyStream:
        return self

    def __next__(self) -> Batch:
        number = self._done * self._world + self._rank
        self._done += 1
        return self.draw(number)

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches this process has taken."""
        return {"batches": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after so many batches."""
        self._done = int(state["batches"])

    def draw(self, number: int) -> Batch:
        """Return batch `number`."""
        rng = np.random.default_rng((self._seed, 4, number))
        phrases = tuple(self._say(label, rng) for label in self._labels)
        pixels, masks, known, modality = [], [], [], []
        for _ in range(self._batch):
            is_mr = bool(self._two and rng.random() < 0.5)
            image, found = _draw_picture(rng, self._shape, inverted=is_mr)
            mask = self._masks(found)
            pixels.append(image)
            masks.append(mask)
            known.append(self._ask(mask, rng))
            modality.append(modality_index("MR" if is_mr else "CT"))
        exact = torch.ones(self._batch, len(phrases), dtype=torch.bool)
        return Batch(
            pixels=_channels(pixels, self._channels),
            modality=torch.tensor(modality),
            phrases=phrases,
            masks=torch.from_numpy(np.stack(masks)),
            known=torch.from_numpy(np.stack(known)),
            outlined=exact,
            concept=torch.arange(len(phrases)),
            parent=self._parents(),
            regions=tuple(_regions(mask) for mask in masks),
            weight=exact.float(),
            attributes=self._describe(),
            contrast_phrases=tuple(self._say(label, rng) for label in self._labels),
            contrast_concept=torch.arange(len(phrases)),
            body_part=(None,) * self._batch,
            sample_ids=tuple(
                f"toy/{number * self._batch + i}" for i in range(self._batch)
            ),
        )

    def _say(self, label: str, rng: np.random.Generator) -> str:
        light, form = label.split()
        if self._words and rng.random() < 0.5:
            others = _OTHER_WORDS[form]
            form = others[rng.integers(len(others))]
        return f"{light} {form}"

    def _describe(self) -> tuple[str, ...]:
        if not self._attributes:
            return ("",) * len(self._labels)
        return tuple(_ATTRIBUTES[label.split()[1]] for label in self._labels)

    def _masks(self, found: list[_Shape]) -> NDArray[np.bool_]:
        """Return (labels, rows, columns)."""
        masks = np.zeros((len(self._labels), *self._shape), dtype=np.bool_)
        for shape in found:
            masks[shape.label] |= shape.mask
            if self._families:
                masks[len(_LABELS) + shape.label // len(_FORMS)] |= shape.mask
        return masks

    def _ask(
        self, masks: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Return (labels,) bool: a picture's own phrases, one or more not there."""
        there = masks[: len(_LABELS)].any((1, 2))
        absent = rng.permutation(np.nonzero(~there)[0])
        present = rng.permutation(np.nonzero(there)[0])[: self._each - 1]
        asked = np.concatenate([present, absent[: self._each - len(present)]])
        known = np.zeros(len(self._labels), dtype=np.bool_)
        known[asked] = True
        known[len(_LABELS) :] = rng.random() < 0.5
        return known

    def _parents(self) -> Tensor:
        rows = torch.full((len(self._labels),), -1)
        if self._families:
            for label in range(len(_LABELS)):
                rows[label] = len(_LABELS) + label // len(_FORMS)
        return rows


def _draw_picture(
    rng: np.random.Generator, shape: tuple[int, int], *, inverted: bool
) -> tuple[NDArray[np.float32], list[_Shape]]:
    """Return (rows, columns) in [-1, 1] and one to three shapes that do not touch."""
    image = rng.normal(0.0, 0.25, shape)
    taken = np.zeros(shape, dtype=np.bool_)
    found: list[_Shape] = []
    for _ in range(int(rng.integers(1, 4))):
        label = int(rng.integers(len(_LABELS)))
        for _attempt in range(20):
            half = int(rng.integers(5, 10))
            centre = [int(rng.integers(half + 1, side - half - 1)) for side in shape]
            mask = _form(shape, centre, half, kind=label % len(_FORMS))
            near = _form(shape, centre, half + 2, kind=1)
            if not (near & taken).any():
                taken |= mask
                found.append(_Shape(label, mask))
                sign = 1.0 if label < len(_FORMS) else -1.0
                image[mask] += (-sign if inverted else sign) * rng.uniform(0.5, 0.9)
                break
    return np.clip(image, -1, 1).astype(np.float32), found


def _form(
    shape: tuple[int, int], centre: list[int], half: int, *, kind: int
) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = np.abs(y - centre[0]), np.abs(x - centre[1])
    if kind == 0:
        return np.asarray(np.hypot(y, x) <= half)
    inside = (y <= half) & (x <= half)
    if kind == 1:
        return np.asarray(inside)
    arm = max(1, half // 3)
    return np.asarray(inside & ((y <= arm) | (x <= arm)))


def _regions(masks: NDArray[np.bool_]) -> PictureRegions:
    return picture_regions(masks, largest=6)


def _channels(pictures: list[NDArray[np.float32]], channels: int) -> Tensor:
    stacked = torch.from_numpy(np.stack(pictures))[:, None]
    return stacked.expand(-1, channels, -1, -1).contiguous()


def toy_stream(request: SourceRequest) -> ToyStream:
    """Build the toy from a configuration; options are those of :class:`ToyStream`."""
    config = request.config
    try:
        return ToyStream(
            config=config.model,
            shape=(config.rows, config.columns),
            batch=config.batch,
            seed=config.seed,
            rank=request.rank,
            world=request.world,
            **request.source.options,
        )
    except TypeError as error:
        raise ConfigError(f"source {request.source.name}: {error}") from error
