from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from model.records import ImageStack
from training.evaluation.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corruptions_for,
)


def _stack(modality: str = "CT", *, colour: bool = False) -> ImageStack:
    y, x = np.mgrid[:48, :64]
    disc = np.exp(-(((y - 20) / 9) ** 2 + ((x - 40) / 9) ** 2))
    if colour:
        pixels = np.repeat((60 + 150 * disc)[None, ..., None], 3, axis=-1)
        return ImageStack(pixels.astype(np.uint8), None, modality, None, False)
    pixels = np.stack([disc * 200 - 50] * 2).astype(np.float32)
    pixels[:, :3] = -1000.0  # far below the visible range
    return ImageStack(pixels, (3.0, 1.0, 1.0), modality, None, True)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_values_and_nothing_else(name):
    for stack in (_stack("XC", colour=True), _stack()):
        if name == "colour cast" and stack.pixels.ndim == 3:
            continue

        spoiled = corrupt(stack, name, severity=3)

        assert spoiled.pixels.shape == stack.pixels.shape
        assert spoiled.pixels.dtype == stack.pixels.dtype
        assert spoiled.spacing_mm == stack.spacing_mm
        assert np.isfinite(spoiled.pixels).all()
        assert (spoiled.pixels != stack.pixels).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_spoils_alike(name):
    stack = _stack("XC", colour=True)

    first = corrupt(stack, name, severity=2, seed=5)

    assert (first.pixels == corrupt(stack, name, severity=2, seed=5).pixels).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_worst_severity_does_more_than_the_mildest(name):
    stack = _stack("XC", colour=True)
    original = stack.pixels.astype(np.float64)

    damage = [
        np.mean(
            [
                np.abs(corrupt(stack, name, severity=s, seed=seed).pixels - original)
                for seed in range(4)
            ]
        )
        for s in (SEVERITIES[0], SEVERITIES[-1])
    ]

    assert damage[1] > damage[0]


@pytest.mark.parametrize("name", ["gaussian blur", "motion blur", "low resolution"])
def test_the_bright_disc_stays_where_it_is(name):
    stack = _stack("MR")

    spoiled = corrupt(stack, name, severity=3)

    centres = [
        ndimage.center_of_mass(np.clip(s.pixels[0, 4:] + 50, 0, None))
        for s in (stack, spoiled)
    ]
    assert np.abs(np.subtract(*centres)).max() < 1.5


def test_values_beyond_the_visible_range_are_not_flattened():
    spoiled = corrupt(_stack("CT"), "gaussian noise", severity=1)

    assert spoiled.pixels[:, :3].mean() == pytest.approx(-1000, abs=10)


def test_every_modality_has_corruptions_of_its_own():
    common = set(corruptions_for("unheard of"))

    for modality in ("CT", "MR", "DX", "US", "ES", "XC", "OP"):
        names = set(corruptions_for(modality))
        assert names > common
        assert names <= set(CORRUPTIONS)
    assert "colour cast" in corruptions_for("ES", is_colour=True)
    assert "colour cast" not in corruptions_for("ES")


@pytest.mark.parametrize(("name", "severity"), [("rain", 1), ("jpeg", 0), ("jpeg", 6)])
def test_an_unknown_corruption_is_refused(name, severity):
    with pytest.raises(ValueError, match="no corruption"):
        corrupt(_stack(), name, severity=severity)
