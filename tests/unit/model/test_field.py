from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features import see_stack
from model.grid import choose_grid
from model.medglip import MedGLIP
from model.records import ImageStack
from tests.builders.tiny_model import TINY, make_model

SIDES = st.integers(34, 220)


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES)
def test_a_picture_lies_whole_in_a_field_of_at_least_the_training_s(rows, columns):
    network = MedGLIP(TINY).eval()
    pixels = np.random.default_rng(0).normal(size=(1, rows, columns))
    stack = ImageStack(
        pixels.astype(np.float32), (0.0, 3.0, 3.0), "MR", None, is_volume=False
    )

    features = see_stack(network, stack, device="cpu", progress=None)

    for part, side, least in zip(
        features.window,
        (features.grid.rows, features.grid.columns),
        TINY.least_field,
        strict=True,
    ):
        assert part.start <= 0
        assert part.stop >= side
        assert part.stop - part.start >= least
        assert (part.stop - part.start) % 16 == 0
    level = features.pyramids[0][0]
    values = level[:, 0].numpy()
    assert features.place(values).shape == (
        1,
        features.grid.rows,
        features.grid.columns,
    )


def test_a_small_field_is_refused_when_it_fits_no_stride():
    with pytest.raises(ValueError, match="least_field"):
        type(TINY)(least_field=(100, 144))


def test_independent_pictures_do_not_change_each_other():
    network = make_model()
    rng = np.random.default_rng(0)
    dark = rng.normal(0, 40, size=(1, 40, 60)).astype(np.float32)
    bright = 4 * dark + 500

    def see(pixels):
        stack = ImageStack(pixels, (0.0, 3.0, 3.0), "CR", None, is_volume=False)
        return see_stack(network, stack, device="cpu", progress=None)

    alone, beside = see(dark), see(np.concatenate((dark, bright)))

    mine, theirs = alone.pyramids[0][0][0], beside.pyramids[0][0][0]
    assert torch.allclose(mine, theirs, atol=1e-3)
    assert len(beside.grid.slice_positions) == 2


def test_a_small_volume_has_small_pixels():
    grid = choose_grid((10, 256, 256), (1.0, 0.35, 0.35), is_volume=True, pixel_mm=3.0)

    assert grid.rows == 128
    assert grid.pixel_mm == pytest.approx(0.7)
    assert grid.step_mm == pytest.approx(1.0)
