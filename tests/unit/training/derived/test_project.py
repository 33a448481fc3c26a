from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.toy_rays import make_chest, straight
from training.derived.project import draw_pose, project

CHEST = make_chest()


def test_straight_rays_add_up_water_and_lengths():
    shot = project(CHEST, straight())

    water = ((CHEST.image + 1000) / 1000).sum(axis=1) * CHEST.spacing_mm
    heart = (CHEST.labels == 3).sum(axis=1) * CHEST.spacing_mm
    span = (len(shot.soft_mm) - len(water)) // 2
    assert np.allclose(shot.soft_mm[span:-span], water[::-1], atol=0.5)
    assert np.allclose(shot.paths_mm[2][span:-span], heart[::-1])
    assert shot.bone_mm.max() == 0


def test_the_head_is_above_and_the_left_lung_on_the_right():
    left, right, heart = project(CHEST, straight()).paths_mm > 0

    assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean()
    assert np.nonzero(heart)[0].mean() > np.nonzero(left)[0].mean()


def test_a_lateral_ray_runs_from_side_to_side():
    shot = project(CHEST, straight("lateral"))

    assert shot.soft_mm.shape[1] == CHEST.image.shape[1]
    both = (shot.paths_mm[0] > 0) & (shot.paths_mm[1] > 0)
    assert both.any()


@pytest.mark.parametrize("distance_mm", [250, 400])
def test_what_is_near_the_tube_is_drawn_larger(distance_mm):
    def area(divergence: float) -> int:
        return int(
            (project(CHEST, straight(divergence=divergence)).paths_mm[2] > 0).sum()
        )

    # The heart lies in front; a positive divergence puts the tube behind.
    behind, in_front = area(1 / distance_mm), area(-1 / distance_mm)

    assert in_front > 1.1 * behind


def test_a_heart_that_grows_covers_more():
    small, large = (
        project(CHEST, straight(heart_scale=scale)).paths_mm[2].sum()
        for scale in (0.8, 1.25)
    )

    assert large > 1.3 * small


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), view=st.sampled_from(["frontal", "lateral"]))
def test_no_path_is_longer_than_the_ray(seed, view):
    shot = project(CHEST, draw_pose(np.random.default_rng(seed), view=view))

    depth = CHEST.image.shape[1 if view == "frontal" else 2] * CHEST.spacing_mm
    assert (shot.paths_mm.sum(axis=0) <= depth + 1e-3).all()
    assert (shot.soft_mm >= 0).all()
    assert (shot.soft_mm <= 1.1 * depth + 1e-3).all()
    lungs = shot.paths_mm[:2].sum(axis=0)
    assert (lungs + shot.enclosed_mm <= depth + 1e-3).all()


@pytest.mark.parametrize("view", ["frontal", "lateral"])
def test_the_same_seed_draws_the_same_pose(view):
    first, second = (draw_pose(np.random.default_rng(4), view=view) for _ in "ab")

    assert np.array_equal(project(CHEST, first).soft_mm, project(CHEST, second).soft_mm)
