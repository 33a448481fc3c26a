from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch

from tests.builders.tiny_model import TINY
from tests.builders.toy_volume import make_volume
from training.batch import Batch, PictureRegions
from training.derived.slices import SliceStream, parents_of
from training.derived.source import LabelledPicture, concept_table, known_concepts
from training.derived.volume_source import VolumeSource
from training.errors import ConfigError
from training.phrases import Concept, Lexicon

LEXICON = Lexicon(
    concepts=(
        Concept("liver", "organ", ("liver",), ("liver", "hepatic"), (), ()),
        Concept("spleen", "organ", ("spleen",), ("spleen", "splenic"), (), ()),
        Concept("organs", "organ", ("liver", "spleen"), ("organs",), (), ()),
        Concept("kidney", "organ", ("kidney_left",), ("left kidney",), (), ()),
        Concept("brain", "absent", (), ("brain", "cerebrum"), (), ()),
    ),
    templates=("{x}", "the {x}"),
    held_out_templates=(),
)


@dataclass(frozen=True)
class Shadows:
    """Two squares that lie partly over each other, on a single picture."""

    name: str = "shadows"
    structures: tuple[str, ...] = ("liver", "spleen")
    label_space: frozenset[str] = frozenset({"liver", "spleen"})
    unknown: frozenset[str] = frozenset()
    is_outlined: bool = True

    def draw(self, rng, *, config, shape):
        image = np.zeros((1, *shape), dtype=np.float32)
        labels = np.zeros((2, *shape), dtype=np.uint8)
        labels[0, 4:20, 4:20] = 1
        labels[1, 12:28, 12:28] = 2
        image[0] = (labels[0] > 0) * 50.0 + (labels[1] > 0) * 30.0
        return LabelledPicture(
            image=image + rng.normal(size=shape).astype(np.float32),
            labels=labels,
            modality="DX",
            body_part="ABDOMEN",
            is_outlined=self.is_outlined,
            weight=0.5,
        )


def make_stream(*sources, seed=5, rank=0, world=1, workers=0, batch=2) -> SliceStream:
    sources = sources or (
        VolumeSource(make_volume()),
        VolumeSource(make_volume(seed=1, without=frozenset({"spleen"})), "ABDOMEN"),
    )
    return SliceStream(
        sources,
        config=TINY,
        lexicon=LEXICON,
        weights=[1.0] * len(sources),
        shape=(64, 80),
        batch=batch,
        phrases=5,
        contrast_phrases=4,
        seed=seed,
        rank=rank,
        world=world,
        workers=workers,
    )


def same(one: Batch, other: Batch) -> bool:
    def equal(a, b) -> bool:
        if isinstance(a, torch.Tensor):
            return torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
        if isinstance(a, PictureRegions):
            return all(equal(vars(a)[k], vars(b)[k]) for k in vars(a))
        if isinstance(a, tuple):
            return len(a) == len(b) and all(map(equal, a, b))
        return bool(a == b)

    return all(equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


def test_a_batch_has_the_shapes_it_promises():
    batch = next(make_stream())

    assert batch.pixels.shape == (2, TINY.input_channels, 64, 80)
    assert batch.pixels.abs().max() <= 1
    assert batch.masks.shape == (2, 5, 64, 80)
    assert batch.masks.dtype == batch.known.dtype == batch.outlined.dtype == torch.bool
    assert batch.known.shape == batch.outlined.shape == batch.weight.shape == (2, 5)
    assert batch.parent.shape == batch.concept.shape == (5,)
    assert len(batch.phrases) == 5
    assert len(batch.contrast_phrases) == len(batch.contrast_concept) == 4
    assert len(batch.regions) == len(batch.body_part) == len(batch.sample_ids) == 2


def test_a_batch_does_not_depend_on_the_batches_before_it():
    first, second = make_stream(), make_stream()
    next(first)
    second.load_state_dict(first.state_dict())

    assert same(next(first), next(second))
    assert not same(next(first), next(make_stream()))


def test_two_processes_share_the_batches_of_one():
    whole = make_stream()
    parts = [make_stream(rank=rank, world=2) for rank in range(2)]

    for _ in range(2):
        for part in parts:
            assert same(next(part), next(whole))


@pytest.mark.timeout(120)
def test_worker_processes_draw_the_same_batches_in_the_same_order():
    alone, helped = make_stream(), make_stream(workers=2)

    for _ in range(3):
        assert same(next(alone), next(helped))


def test_masks_show_what_the_phrase_means_and_overlap_where_structures_do():
    batch = next(make_stream(Shadows()))
    masks = dict(zip(batch.concept.tolist(), batch.masks[0], strict=True))

    liver, spleen, organs, kidney, brain = (masks[i] for i in range(5))
    assert int(liver.sum()) == int(spleen.sum()) == 256
    assert int((liver & spleen).sum()) == 64
    assert torch.equal(organs, liver | spleen)
    assert not kidney.any()
    assert not brain.any()


def test_only_what_the_labels_can_tell_is_known():
    batch = next(make_stream(Shadows()))
    known = dict(zip(batch.concept.tolist(), batch.known[0].tolist(), strict=True))

    assert known == {0: True, 1: True, 2: True, 3: False, 4: True}


def test_a_part_points_to_the_whole():
    batch = next(make_stream(Shadows()))
    rows = {c: row for row, c in enumerate(batch.concept.tolist())}

    assert batch.parent[rows[0]] == batch.parent[rows[1]] == rows[2]
    assert batch.parent[rows[2]] == batch.parent[rows[4]] == -1


def test_the_nearest_container_is_the_parent():
    parts = [frozenset("a"), frozenset("abc"), frozenset("ab"), frozenset()]

    assert parents_of(parts).tolist() == [2, -1, 1, -1]


def test_regions_lie_where_the_masks_lie():
    batch = next(make_stream(Shadows()))
    rows = {c: row for row, c in enumerate(batch.concept.tolist())}
    regions = batch.regions[0]

    liver = int(regions.phrase[:, rows[0]].nonzero())
    assert (regions.boxes[liver] * torch.tensor([80, 64, 80, 64])).tolist() == [
        pytest.approx(value) for value in (12, 12, 16, 16)
    ]
    assert regions.masks[liver].sum() == 64


def test_filled_boxes_are_no_outlines():
    batch = next(make_stream(Shadows(is_outlined=False)))

    assert not batch.outlined.any()
    assert batch.regions[0].masks.isnan().all()
    assert batch.weight.unique().tolist() == [0.5]


def test_a_single_picture_stands_for_its_neighbours():
    pixels = next(make_stream(Shadows())).pixels[0]

    offsets = len(TINY.slice_offsets_mm)
    assert all(torch.equal(pixels[0], pixels[i]) for i in range(1, offsets))


def test_tables_follow_the_labels_of_the_source():
    table = concept_table(Shadows(), LEXICON)

    assert table.tolist() == [
        [False, True, False],
        [False, False, True],
        [False, True, True],
        [False, False, False],
        [False, False, False],
    ]
    doubtful = Shadows(unknown=frozenset({"brain", "liver"}))
    known = known_concepts(doubtful, LEXICON).tolist()
    assert known == [False, True, True, False, False]


def test_every_source_needs_a_weight():
    with pytest.raises(ConfigError, match="weight"):
        SliceStream(
            (Shadows(),),
            config=TINY,
            lexicon=LEXICON,
            weights=[],
            shape=(64, 80),
            batch=1,
            phrases=2,
        )
