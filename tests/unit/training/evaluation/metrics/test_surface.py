from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from training.evaluation.metrics import surface_dice


def _cube(shift: int = 0) -> np.ndarray:
    mask = np.zeros((12, 12, 12), bool)
    mask[3:8, 3:8, 3 + shift : 8 + shift] = True
    return mask


def _brute_force(found, truth, spacing, tolerance):
    """Boundary voxels by their six neighbours, distances by every pair."""

    def boundary(mask):
        padded = np.pad(mask, 1)
        points = []
        for index in np.argwhere(mask):
            around = [
                padded[tuple(index + 1 + step * np.eye(mask.ndim, dtype=int)[axis])]
                for axis in range(mask.ndim)
                for step in (-1, 1)
            ]
            if not all(around):
                points.append(index * np.asarray(spacing))
        return np.array(points)

    first, second = boundary(found), boundary(truth)
    gaps = np.sqrt(((first[:, None] - second[None]) ** 2).sum(-1))
    near = (gaps.min(1) <= tolerance).sum() + (gaps.min(0) <= tolerance).sum()
    return near / (len(first) + len(second))


def test_the_same_region_agrees_wholly():
    assert surface_dice(_cube(), _cube(), spacing_mm=(5, 1, 1)) == 1


def test_the_spacing_decides_what_is_near():
    found, truth = np.zeros((2, 4, 12), bool)
    found[1], truth[2] = True, True

    assert surface_dice(found, truth, spacing_mm=(1, 1), tolerance_mm=1) == 1
    assert surface_dice(found, truth, spacing_mm=(1.5, 1), tolerance_mm=1) == 0


def test_only_the_moved_end_of_a_bar_is_far():
    found, truth = np.zeros((2, 1, 12), bool)
    found[0, :5], truth[0, :7] = True, True

    # All five voxels of one bar and six of the seven of the other are near.
    assert surface_dice(found, truth, spacing_mm=(1, 1), tolerance_mm=1) == 11 / 12


def test_empty_masks_follow_the_rule_of_dice():
    empty = np.zeros_like(_cube())

    assert surface_dice(empty, empty, spacing_mm=(1, 1, 1)) == 1
    assert surface_dice(_cube(), empty, spacing_mm=(1, 1, 1)) == 0
    assert surface_dice(empty, _cube(), spacing_mm=(1, 1, 1)) == 0


def test_a_spacing_that_is_no_distance_is_refused():
    with pytest.raises(ValueError, match="no distance"):
        surface_dice(_cube(), _cube(), spacing_mm=(0, 1, 1))


_MASKS = st_numpy.arrays(bool, (4, 5, 5))


@settings(deadline=None, max_examples=40)
@given(_MASKS.filter(np.any), _MASKS.filter(np.any), st.sampled_from([0.5, 1.0, 2.5]))
def test_every_distance_agrees_with_brute_force(found, truth, tolerance):
    spacing = (2.5, 0.7, 1.3)

    ours = surface_dice(found, truth, spacing_mm=spacing, tolerance_mm=tolerance)

    assert ours == pytest.approx(_brute_force(found, truth, spacing, tolerance))


@pytest.mark.slow  # MONAI takes ten seconds to import
@pytest.mark.filterwarnings("ignore:monai:FutureWarning")
def test_monai_computes_the_same_number():
    import torch
    from monai.metrics.surface_dice import compute_surface_dice

    rng = np.random.default_rng(0)
    spacing = (2.5, 0.7, 1.3)
    for _ in range(10):
        pair = []
        for _ in range(2):
            mask = np.zeros((10, 14, 14), bool)
            low = rng.integers(1, 4, 3)
            part = tuple(slice(a, a + b) for a, b in zip(low, (5, 7, 6), strict=True))
            mask[part] = rng.random((5, 7, 6)) > 0.1
            pair.append(mask)
        tensors = [torch.from_numpy(m)[None, None].float() for m in pair]

        theirs = compute_surface_dice(
            *tensors, [1.0], include_background=True, spacing=spacing
        )

        ours = surface_dice(*pair, spacing_mm=spacing, tolerance_mm=1.0)
        assert ours == pytest.approx(float(theirs), abs=1e-6)
