from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.tiny_model import TINY
from tests.builders.toy_rays import make_chest
from training.derived.bank import BankPlan, ProjectionBank, load_bank
from training.derived.radiographs import RadiographSource, mirrored_name
from training.derived.source import concept_table, known_concepts
from training.derived.volumes import STRUCTURES
from training.phrases import load_lexicon

LEXICON = load_lexicon()


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> ProjectionBank:
    folder = tmp_path_factory.mktemp("bank")
    return load_bank(BankPlan("toy", "frontal", 3, 1), make_chest, folder=folder)


@pytest.fixture(scope="module")
def lateral(tmp_path_factory) -> ProjectionBank:
    folder = tmp_path_factory.mktemp("bank")
    return load_bank(BankPlan("toy", "lateral", 2, 1), make_chest, folder=folder)


def draw(source: RadiographSource, seed: int):
    return source.draw(np.random.default_rng(seed), config=TINY, shape=(96, 128))


@pytest.mark.parametrize("seed", range(30))
def test_left_is_on_the_right_even_in_a_mirrored_picture(bank, seed):
    picture = draw(RadiographSource(bank, "chest", "frontal"), seed)

    left, right = (np.nonzero((picture.labels == v).any(axis=0))[1] for v in (1, 2))
    if len(left) and len(right):
        assert left.mean() > right.mean()


def test_some_hearts_are_mirrored(bank):
    source = RadiographSource(bank, "chest", "frontal")
    sides = set()
    for seed in range(60):
        labels = draw(source, seed).labels
        lungs = np.nonzero(np.isin(labels, (1, 2)).any(axis=0))[1]
        heart = np.nonzero((labels == 3).any(axis=0))[1]
        sides.add(bool(heart.mean() > (lungs.min() + lungs.max()) / 2))

    assert sides == {True, False}


def test_equal_generators_draw_equal_pictures(bank):
    source = RadiographSource(bank, "chest", "frontal")

    first, second = draw(source, 3), draw(source, 3)

    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)
    assert first.image.shape == (1, 96, 128)
    assert first.modality in {"CR", "DX"}
    assert not np.array_equal(first.image, draw(source, 4).image)


def test_a_lung_is_darker_than_the_heart(bank):
    source = RadiographSource(bank, "chest", "frontal")
    darker = []
    for seed in range(12):
        picture = draw(source, seed)
        lungs = np.isin(picture.labels, (1, 2)).any(axis=0)
        heart = (picture.labels == 3).any(axis=0) & ~lungs
        darker.append(picture.image[0][lungs].mean() < picture.image[0][heart].mean())

    assert sum(darker) >= 11


def test_a_lateral_picture_knows_lungs_and_no_sides(lateral):
    source = RadiographSource(lateral, "chest", "lateral")
    known = dict(
        zip(
            (c.name for c in LEXICON.concepts),
            known_concepts(source, LEXICON),
            strict=True,
        )
    )

    assert known["lungs"]
    assert known["heart"]
    assert not known["left lung"]
    assert not known["right lung"]
    table = concept_table(source, LEXICON)
    row = [c.name for c in LEXICON.concepts].index("lungs")
    assert table[row, source.structures.index("lungs") + 1]


def test_a_chest_has_no_pelvis_and_no_eye_but_may_have_a_liver(bank):
    source = RadiographSource(bank, "chest", "frontal")
    known = known_concepts(source, LEXICON)
    known = {c.name: k for c, k in zip(LEXICON.concepts, known, strict=True)}

    for name in ("left hip bone", "prostate", "brain", "optic disc", "polyp"):
        assert known[name], name
    for name in ("liver", "stomach", "ribs", "thyroid", "cervical spine"):
        assert not known[name], name


@given(name=st.sampled_from(STRUCTURES))
def test_mirroring_a_name_twice_gives_the_name(name):
    assert mirrored_name(mirrored_name(name)) == name
    assert (mirrored_name(name) == name) == ("left" not in name and "right" not in name)
