from __future__ import annotations

import numpy as np
import pytest

from training.derived.exposure import collimate, draw_masses, expose, hang_things

WEDGE = np.tile(np.linspace(20, 300, 80, dtype=np.float32), (60, 1))


@pytest.mark.parametrize("seed", range(12))
def test_more_matter_is_brighter_in_every_exposure(seed):
    picture = expose(WEDGE, np.zeros_like(WEDGE), np.random.default_rng(seed))

    assert picture.dtype == np.float32
    assert 0 <= picture.min() <= picture.max() <= 1
    thin, thick = picture[:, 10:30].mean(), picture[:, 50:70].mean()
    assert thin < thick


def test_bone_is_brighter_than_what_surrounds_it():
    bone = np.zeros_like(WEDGE)
    bone[20:40, 30:50] = 40
    flat = np.full_like(WEDGE, 120.0)

    for seed in range(8):
        picture = expose(flat, bone, np.random.default_rng(seed))
        assert picture[22:38, 32:48].mean() > picture[:15].mean()


@pytest.mark.parametrize("seed", range(10))
def test_a_mass_is_marked_where_it_adds_matter_to_a_lung(seed):
    lungs = np.zeros((90, 100), dtype=np.bool_)
    lungs[10:80, 10:45] = lungs[10:80, 55:90] = True

    added, marked = draw_masses(lungs, np.random.default_rng(seed), pixel_mm=3.0)

    assert not (marked & ~lungs).any()
    assert (added >= 0).all()
    assert (added[marked] > 0).all()


def test_some_pictures_have_masses_and_some_have_none():
    lungs = np.ones((60, 60), dtype=np.bool_)
    found = [
        draw_masses(lungs, np.random.default_rng(seed), pixel_mm=3.0)[1].any()
        for seed in range(20)
    ]

    assert 0 < sum(found) < 20


def test_a_picture_without_lungs_gets_no_mass():
    added, marked = draw_masses(
        np.zeros((40, 40), dtype=np.bool_), np.random.default_rng(0), pixel_mm=3.0
    )

    assert not added.any()
    assert not marked.any()


@pytest.mark.parametrize("seed", range(10))
def test_what_hangs_on_a_patient_is_only_brighter(seed):
    picture = np.full((60, 80), 0.3, dtype=np.float32)

    hung = hang_things(picture, np.random.default_rng(seed))

    assert hung.shape == picture.shape
    assert (hung >= picture).all()
    assert hung.max() <= 1


@pytest.mark.parametrize("seed", range(10))
def test_a_collimator_hides_edges_alone(seed):
    picture = np.full((60, 80), 0.3, dtype=np.float32)

    shut, is_open = collimate(picture, np.random.default_rng(seed))

    assert is_open[10:50, 10:70].all()
    assert (shut[is_open] == picture[is_open]).all()
    assert np.isin(shut[~is_open], (0.0, 1.0)).all()
