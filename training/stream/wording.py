"""Ask several pictures one list of phrases, and lay out the answers as a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.knowledge import load_knowledge
from model.knowledge.words import Words, to_words
from model.modality import modality_index
from training.batch import Batch, PictureRegions
from training.losses.targets import SMALLEST_PIXELS
from training.phrases import load_lexicon
from training.stream.field import BoolArray
from training.stream.picture import PlacedPicture
from training.stream.truth import Asked, Truth, ask, truth_of, union

__all__ = ["choose_phrases", "word_pictures"]

_PRESENT_SHARE = 2 / 3
"""Part of the phrases that some picture shows; the others are absent everywhere they
are known."""
_REWORD = 0.3
"""How often a plain name is replaced by a synonym, for what is there and what is not:
else wordings would give away the answer."""
_GENERAL = 0.2
"""How often the plain label is asked besides a phrase that says more."""


def choose_phrases(
    pictures: Sequence[PlacedPicture], rng: np.random.Generator, *, count: int
) -> tuple[Asked, ...]:
    """Draw what is asked of all pictures: present phrases of each, then absent ones.

    Every picture has its turn, so that one with forty structures does not crowd out
    the finding of another.
    """
    present = [_shown(picture, rng) for picture in pictures]
    absent = [_missing(picture) for picture in pictures]
    chosen: dict[Words, Asked] = {}
    _take(chosen, present, rng, limit=round(count * _PRESENT_SHARE))
    _take(chosen, absent, rng, limit=count)
    _take(chosen, present, rng, limit=count)
    asked = []
    for one in list(chosen.values()):
        again = _reword(one, rng)
        if again.words not in chosen:
            chosen[again.words] = one = again
        asked.append(one)
    if not asked:  # nothing is known of any picture; a batch has a phrase all the same
        labels = load_knowledge().labels
        name = labels[int(rng.integers(len(labels)))].name
        return (ask(name, name),)
    return tuple(asked[i] for i in rng.permutation(len(asked)))


def _shown(picture: PlacedPicture, rng: np.random.Generator) -> list[Asked]:
    found = []
    for place in picture.places:
        if place.status != "present":
            continue
        found.append(ask(place.text, place.label))
        if place.text != place.label and rng.random() < _GENERAL:
            found.append(ask(place.label, place.label))
    return found


def _missing(picture: PlacedPicture) -> list[Asked]:
    """Return what the picture is known not to show."""
    texts = {p.text: p.label for p in picture.places if p.status == "absent"}
    texts |= {label: label for label in picture.label_space if label not in texts}
    asked = [ask(text, label) for text, label in texts.items()]
    truths = [truth_of(one, picture) for one in asked]
    return [
        one
        for one, truth in zip(asked, truths, strict=True)
        if truth.known and not truth.places
    ]


def _take(
    chosen: dict[Words, Asked],
    pools: Sequence[Sequence[Asked]],
    rng: np.random.Generator,
    *,
    limit: int,
) -> None:
    """Move one phrase of each pool after the other, until there are `limit`."""
    queues = [[pool[i] for i in rng.permutation(len(pool))] for pool in pools]
    while len(chosen) < limit and any(queues):
        for queue in queues:
            while queue:
                one = queue.pop()
                if one.words and one.words not in chosen:
                    chosen[one.words] = one
                    break
            if len(chosen) >= limit:
                return


def _reword(asked: Asked, rng: np.random.Generator) -> Asked:
    if not asked.is_plain or rng.random() >= _REWORD:
        return asked
    names = _names().get(asked.words)
    if not names:
        return asked
    text = names[int(rng.integers(len(names)))]
    again = ask(text, text)
    # A wording that the knowledge file reads otherwise would lose its answers.
    return again if again.thing == asked.thing and again.is_plain else asked


@lru_cache(maxsize=1)
def _names() -> dict[Words, tuple[str, ...]]:
    """Words of a concept's name to all its names."""
    concepts = load_lexicon().concepts
    return {to_words(name): c.names for c in concepts for name in c.names}


def word_pictures(
    pictures: Sequence[PlacedPicture],
    asked: Sequence[Asked],
    rng: np.random.Generator,
    *,
    contrast_phrases: int = 0,
) -> Batch:
    """Return the batch of pictures and phrases.

    Parameters
    ----------
    pictures
        At least one; all of the same shape.
    contrast_phrases
        More wordings, two for each drawn label of the knowledge file.
    """
    truths = [[truth_of(one, picture) for one in asked] for picture in pictures]
    shape = pictures[0].pixels.shape[1:]
    size = (shape[0], shape[1])
    masks = np.zeros((len(pictures), len(asked), *size), dtype=np.bool_)
    for i, row in enumerate(truths):
        for j, truth in enumerate(row):
            masks[i, j] = union(truth.places, size)
    knowledge = load_knowledge()
    phrases = tuple(one.text for one in asked)
    numbers = _Concepts()
    concept = numbers.of(phrases)
    more = _more_wordings(rng, contrast_phrases)
    modalities = {picture.modality for picture in pictures}
    modality = modalities.pop() if len(modalities) == 1 else None
    return Batch(
        pixels=torch.from_numpy(np.stack([p.pixels for p in pictures])),
        modality=torch.tensor([modality_index(p.modality) for p in pictures]),
        phrases=phrases,
        masks=torch.from_numpy(masks),
        known=_table(truths, lambda truth: truth.known).bool(),
        outlined=_table(
            truths, lambda truth: all(place.is_outlined for place in truth.places)
        ).bool(),
        concept=concept,
        parent=torch.tensor(knowledge.parents(phrases), dtype=torch.int64),
        regions=tuple(_regions(row, size) for row in truths),
        weight=_table(
            truths, lambda truth: min((p.weight for p in truth.places), default=1.0)
        ),
        attributes=tuple(knowledge.describe(text, modality) for text in phrases),
        contrast_phrases=more,
        contrast_concept=numbers.of(more) if more else None,
        body_part=tuple(picture.body_part for picture in pictures),
        sample_ids=tuple(picture.sample_id for picture in pictures),
    )


def _table(
    truths: Sequence[Sequence[Truth]], value: Callable[[Truth], float]
) -> Tensor:
    """Return (batch, phrases) of a number per truth."""
    rows = [[float(value(truth)) for truth in row] for row in truths]
    return torch.tensor(rows).reshape(len(truths), -1)


class _Concepts:
    """Numbers for meanings: the same for the same, as long as the object lives."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def of(self, phrases: Iterable[str]) -> Tensor:
        """Return (phrases,); -1 where only the words themselves are known."""
        places = [load_knowledge().meaning(phrase) for phrase in phrases]
        numbers = [
            -1 if place is None else self._numbers.setdefault(place, len(self._numbers))
            for place in places
        ]
        return torch.tensor(numbers, dtype=torch.int64)


def _more_wordings(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Draw two wordings each of half as many labels."""
    several = _several_wordings()
    drawn = rng.choice(len(several), size=min(count // 2, len(several)), replace=False)
    more: list[str] = []
    for number in drawn:
        names = several[number]
        more += [names[i] for i in rng.choice(len(names), size=2, replace=False)]
    return tuple(more)


@lru_cache(maxsize=1)
def _several_wordings() -> tuple[tuple[str, ...], ...]:
    found = []
    for one in load_knowledge().entries:
        names = [text for text in (one.name, *one.synonyms) if "~" not in text]
        if len(names) > 1:
            found.append(tuple(names))
    return tuple(found)


def _regions(truths: Sequence[Truth], size: tuple[int, int]) -> PictureRegions:
    """Return each place once, owned by every phrase that is true of it."""
    rows, columns = size
    found: dict[tuple[float, ...], tuple[set[int], Tensor]] = {}
    for phrase, truth in enumerate(truths):
        for place in truth.places:
            for box, mask in zip(place.boxes_xyxy, place.masks, strict=True):
                key = (*box.round(1).tolist(), float(place.is_outlined))
                if place.is_outlined and int(mask.sum()) < SMALLEST_PIXELS:
                    continue
                if key not in found:
                    small = torch.from_numpy(_halve(mask, exact=place.is_outlined))
                    found[key] = (set(), small)
                found[key][0].add(phrase)
    owner = torch.zeros(len(found), len(truths))
    for number, (owners, _) in enumerate(found.values()):
        owner[number, sorted(owners)] = 1
    edges = torch.tensor([key[:4] for key in found]).reshape(-1, 4)
    scale = torch.tensor([columns, rows, columns, rows])
    boxes = torch.cat(
        ((edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]), 1
    )
    masks = [small for _, small in found.values()]
    return PictureRegions(
        phrase=owner,
        boxes=boxes / scale,
        masks=torch.stack(masks) if masks else torch.zeros(0, rows // 2, columns // 2),
    )


def _halve(mask: BoolArray, *, exact: bool) -> NDArray[np.float32]:
    """Return (rows/2, columns/2); NaN where there is no outline."""
    rows, columns = mask.shape
    if not exact:
        return np.full((rows // 2, columns // 2), np.nan, dtype=np.float32)
    quarters = mask.reshape(rows // 2, 2, columns // 2, 2).mean((1, 3))
    return np.asarray(quarters >= 0.5, dtype=np.float32)
