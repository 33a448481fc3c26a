from __future__ import annotations

import numpy as np
import pytest

from dicom_node.opendata import fetch_totalsegmentator
from tests.builders.tiny_model import TINY
from tests.builders.toy_volume import make_volume
from training.derived.appearance import add_surroundings, disturb, randomise_contrast
from training.derived.augment import Slab, contrast_phase, draw_slab, synthetic_ct
from training.derived.outlined import load_upper_abdomen
from training.derived.volumes import STRUCTURES

LIVER, SPLEEN = STRUCTURES.index("liver") + 1, STRUCTURES.index("spleen") + 1


def draw(seed: int) -> Slab:
    return draw_slab(
        make_volume(),
        np.random.default_rng(seed),
        offsets_mm=TINY.slice_offsets_mm,
        shape=(96, 112),
        pixel_mm=3.0,
    )


@pytest.mark.parametrize("seed", range(8))
def test_labels_stay_on_their_tissue_and_sides_are_kept(seed):
    slab = draw(seed)

    liver, spleen = slab.labels == LIVER, slab.labels == SPLEEN
    assert slab.image[liver].mean() == pytest.approx(120, abs=15)
    assert np.nonzero(liver)[2].mean() < np.nonzero(spleen)[2].mean()


def test_the_same_seed_draws_the_same_patient():
    assert np.array_equal(draw(3).image, draw(3).image)
    assert not np.array_equal(draw(3).image, draw(4).image)


def test_a_contrast_phase_moves_means_and_nothing_else():
    slab = draw(0)

    changed = contrast_phase(slab, np.random.default_rng(0))

    assert changed.labels is slab.labels
    far = slab.labels == 0
    far[:, 1:-1, 1:-1] &= ~(slab.labels > 0)[:, 1:-1, 1:-1]
    air = slab.image < -900
    assert np.allclose(changed.image[air], slab.image[air], atol=60)
    assert abs(changed.image[slab.labels == LIVER].mean() - 120) > 3


def test_arms_and_couch_cover_no_label():
    slab = draw(1)
    for seed in range(10):
        image = add_surroundings(slab.image, slab.labels, np.random.default_rng(seed))
        assert np.array_equal(image[slab.labels > 0], slab.image[slab.labels > 0])


@pytest.mark.parametrize("change", [disturb, randomise_contrast])
def test_appearance_keeps_shape_and_numbers(change):
    image = draw(2).image

    changed = change(image, np.random.default_rng(0))

    assert changed.shape == image.shape
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()


def test_a_painted_ct_has_tissue_units():
    slab = draw(5)
    bright = Slab(slab.image.clip(-50) + 60, slab.labels)

    painted = synthetic_ct(bright, np.random.default_rng(0))

    assert 0 < painted.image[slab.labels == LIVER].mean() < 140


def make_cava(seed: int) -> Slab:
    rng = np.random.default_rng(seed)
    labels = np.zeros((3, 40, 40), dtype=np.uint8)
    labels[:, 5:25, 5:20] = LIVER
    labels[:, 15:28, 18:30] = STRUCTURES.index("inferior_vena_cava") + 1
    image = rng.normal(0, 10, labels.shape) + labels
    return Slab(image.astype(np.float32), labels)


@pytest.mark.parametrize("seed", range(12))
def test_an_emptied_vena_cava_gives_its_rim_to_its_neighbours(seed):
    slab = make_cava(0)
    cava = STRUCTURES.index("inferior_vena_cava") + 1
    before = slab.labels == cava

    changed = contrast_phase(slab, np.random.default_rng(seed))

    after = changed.labels == cava
    assert after.any(axis=(1, 2)).all()
    assert not (after & ~before).any()
    given = before & ~after
    assert np.isin(changed.labels[given], (0, LIVER)).all()
    assert np.array_equal(changed.labels[~given], slab.labels[~given])


def test_the_second_abdomen_lies_on_its_picture():
    volume = load_upper_abdomen(fetch_totalsegmentator())

    assert volume.image.shape == volume.labels.shape
    for name, low, high in (
        ("liver", 40, 120),
        ("spleen", 100, 220),
        ("aorta", 150, 500),
        ("vertebrae_T12", 120, 500),
    ):
        inside = volume.labels == STRUCTURES.index(name) + 1
        assert inside.sum() > 500
        assert low < volume.image[inside].mean() < high
    liver, spleen = (
        np.nonzero(volume.labels == STRUCTURES.index(name) + 1)[2].mean()
        for name in ("liver", "spleen")
    )
    assert liver < spleen
