from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.metrics import contrast_to_noise, points_inside


def test_the_hottest_pixel_decides():
    heat = np.zeros((10, 10))
    heat[4, 7] = 1

    assert points_inside(heat, [(0, 0, 2, 2), (7, 4, 8, 5)])
    assert not points_inside(heat, [(0, 0, 7, 5)])


def test_the_edge_of_a_box_is_inside():
    heat = np.zeros((10, 10))
    heat[4, 7] = 1

    assert points_inside(heat, [(7.5, 4.5, 9, 9)])
    assert not points_inside(heat, [(7.6, 4.5, 9, 9)])


def test_contrast_to_noise_of_known_values():
    heat = np.array([[1.0, 3.0], [0.0, 0.0]])
    region = np.array([[True, True], [False, False]])

    assert contrast_to_noise(heat, region) == pytest.approx(2.0)  # (2 - 0) / sqrt(1)
    assert contrast_to_noise(heat, ~region) == pytest.approx(-2.0)


def test_a_flat_map_has_no_contrast():
    region = np.array([[True, False]])

    assert contrast_to_noise(np.ones((1, 2)), region) == 0


def test_contrast_is_undefined_without_an_outside_or_without_noise():
    everything = np.ones((1, 2), bool)

    assert np.isnan(contrast_to_noise(np.ones((1, 2)), everything))
    assert np.isnan(
        contrast_to_noise(np.array([[1.0, 0.0]]), np.array([[True, False]]))
    )


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="heat"):
        contrast_to_noise(np.ones((2, 2)), np.ones((1, 2), bool))
