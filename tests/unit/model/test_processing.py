from __future__ import annotations

import numpy as np
import pytest
import torch

from model.modality import MODALITIES, modality_index
from model.processing import normalise_units, window_channels


def test_hounsfield_units_are_kept_and_clipped():
    pixels = np.array([-5000.0, -50.0, 40.0, 9000.0], dtype=np.float32)

    assert normalise_units(pixels, "CT").tolist() == [-1024.0, -50.0, 40.0, 3071.0]


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (17.0, -300.0), (0.01, 5.0)])
def test_units_without_a_scale_do_not_matter(gain, offset):
    pixels = np.random.default_rng(0).gamma(2, 100, (3, 40, 40)).astype(np.float32)

    changed = normalise_units((pixels * gain + offset).astype(np.float32), "MR")

    assert np.allclose(changed, normalise_units(pixels, "MR"), atol=0.1)


def test_a_flat_picture_stays_finite():
    flat = normalise_units(np.full((1, 8, 8), 7.0, dtype=np.float32), "US")

    assert np.isfinite(flat).all()


def test_the_centre_slice_fills_the_wide_windows():
    slab = np.stack([np.full((4, 4), hu, dtype=np.float32) for hu in (-900, 40, 900)])

    channels = window_channels(torch.from_numpy(slab))

    assert channels.shape == (5, 4, 4)
    assert channels[:, 0, 0] == pytest.approx([-1, 0, 1, 0.733, -0.657], abs=1e-3)


@pytest.mark.parametrize(
    ("dicom", "row"),
    [("CT", "CT"), ("ct ", "CT"), ("DM", "XC"), ("SR", "OT"), ("", "OT"), ("RF", "XA")],
)
def test_every_modality_has_a_token(dicom, row):
    assert MODALITIES[modality_index(dicom)] == row
