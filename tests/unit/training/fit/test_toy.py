from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.builders.tiny_model import TINY
from training.config import SourceConfig, TrainingConfig
from training.errors import ConfigError
from training.fit.sources import build_stream
from training.fit.toy import TOY_LABELS, ToyStream
from training.fit.world import World


def make_toy(**options) -> ToyStream:
    return ToyStream(config=TINY, batch=6, **options)


def test_every_picture_asks_its_own_phrases_and_one_is_not_there():
    batch = next(make_toy())
    there = batch.masks.flatten(2).any(-1)

    assert (batch.known.sum(1) == 4).all()
    assert len({tuple(row.tolist()) for row in batch.known}) > 1
    assert (batch.known & ~there).any(1).all()
    assert (batch.known & there).any(1).all()


@pytest.mark.parametrize("is_mr", [False, True])
def test_bright_and_dark_change_places_between_modalities(is_mr):
    stream, found = make_toy(two_modalities=True), []
    for _ in range(4):
        batch = next(stream)
        centre = batch.pixels[:, 0]
        for picture in range(len(centre)):
            if (int(batch.modality[picture]) == 1) != is_mr:
                continue
            for label, mask in enumerate(batch.masks[picture]):
                if mask.any():
                    value = float(centre[picture][mask].mean())
                    found.append((TOY_LABELS[label].startswith("bright"), value))

    assert len(found) > 5
    assert all((bright != is_mr) == (value > 0) for bright, value in found)


def test_parents_hold_their_children_and_are_not_always_annotated():
    batches = [make_toy(families=True).draw(i) for i in range(4)]

    for batch in batches:
        for row, parent in enumerate(batch.parent.tolist()):
            if parent >= 0:
                assert not (batch.masks[:, row] & ~batch.masks[:, parent]).any()
    known = torch.cat([batch.known[:, -1] for batch in batches])
    assert 0 < int(known.sum()) < len(known)


def test_the_toy_continues_where_it_was():
    first, second = make_toy(words=True), make_toy(words=True)
    next(first)
    second.load_state_dict(first.state_dict())

    one, other = next(first), next(second)

    assert torch.equal(one.pixels, other.pixels)
    assert one.phrases == other.phrases


def test_two_processes_share_the_toy():
    whole = make_toy()
    parts = [make_toy(rank=rank, world=2) for rank in range(2)]

    for part in parts:
        assert torch.equal(next(part).pixels, next(whole).pixels)


def test_a_configuration_builds_the_toy_and_names_a_wrong_option():
    config = TrainingConfig(
        rows=64,
        columns=64,
        batch=2,
        model=TINY,
        sources=(SourceConfig("shapes", kind="toy", options={"families": True}),),
    )

    batch = next(build_stream(config, World()))

    assert len(batch.phrases) == 8
    wrong = TrainingConfig(
        rows=64, columns=64, sources=(SourceConfig("toy", options={"mood": 1}),)
    )
    with pytest.raises(ConfigError, match="mood"):
        build_stream(wrong, World())
    with pytest.raises(ConfigError, match="moon"):
        build_stream(TrainingConfig(sources=(SourceConfig("moon"),)), World())


def test_shapes_do_not_touch():
    for number in range(6):
        batch = make_toy().draw(number)
        assert (batch.masks.sum(1) <= 1).all()
        assert np.isfinite(batch.pixels.numpy()).all()
