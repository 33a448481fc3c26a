"""Corruptions that single kinds of scanners, cameras and archives make."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from training.evaluation.corruptions.kind import (
    Corruption,
    Random,
    Values,
    normal,
    planes,
    smooth,
)

__all__ = ["ARTEFACTS"]


def _quantum_noise(values: Values, strength: float, rng: Random) -> Values:
    """Fewer quanta: noise grows with the root of the signal."""
    return np.asarray(
        values + strength * np.sqrt(values.clip(0.05)) * normal(values, rng),
        dtype=np.float32,
    )


def _rician_noise(values: Values, strength: float, rng: Random) -> Values:
    """Noise of a magnitude image; H. Gudbjartsson, S. Patz, MRM 1995."""
    real = values + strength * normal(values, rng)
    return np.asarray(np.hypot(real, strength * normal(values, rng)), dtype=np.float32)


def _speckle(values: Values, strength: float, rng: Random) -> Values:
    return np.asarray(values * (1 + strength * normal(values, rng)), dtype=np.float32)


def _impulse_noise(values: Values, strength: float, rng: Random) -> Values:
    drawn = rng.random(values.shape[:3])
    drawn = drawn[..., None] if values.ndim == 4 else drawn
    salted = np.where(drawn > 1 - strength / 2, np.float32(1), values)
    return np.asarray(
        np.where(drawn < strength / 2, np.float32(0), salted), dtype=np.float32
    )


def _bias_field(values: Values, strength: float, rng: Random) -> Values:
    field = np.exp(strength * smooth(values.shape[1:3], rng))
    return np.asarray(values * planes(field, values), dtype=np.float32)


def _ghosting(values: Values, strength: float, rng: Random) -> Values:
    """Repeat the picture faintly along the rows, as periodic motion does."""
    ghosts = int(rng.integers(2, 5))
    copies = sum(
        np.roll(values, values.shape[1] * i // (ghosts + 1), axis=1)
        for i in range(1, ghosts + 1)
    )
    return np.asarray(
        values + strength * np.asarray(copies, dtype=np.float32) / ghosts,
        dtype=np.float32,
    )


def _spike(values: Values, strength: float, rng: Random) -> Values:
    """One wrong point of k-space: a wave over the whole picture."""
    rows, columns = values.shape[1:3]
    y, x = np.mgrid[:rows, :columns]
    waves = rng.uniform(0.05, 0.25, 2) * rng.choice((-1, 1), 2)
    wave = np.cos(2 * np.pi * (waves[0] * y + waves[1] * x))
    return np.asarray(values + strength * planes(wave, values), dtype=np.float32)


def _rings(values: Values, strength: float, rng: Random) -> Values:
    """Badly calibrated detector elements: rings around the centre."""
    rows, columns = values.shape[1:3]
    y, x = np.mgrid[:rows, :columns]
    radius = np.hypot(y - (rows - 1) / 2, x - (columns - 1) / 2)
    profile = rng.normal(0, 1, int(radius.max()) + 2)
    return np.asarray(
        values + strength * planes(profile[radius.astype(np.int64)], values),
        dtype=np.float32,
    )


def _streaks(values: Values, strength: float, rng: Random) -> Values:
    """Dark and bright rays from a dense thing, as of metal."""
    rows, columns = values.shape[1:3]
    y, x = np.mgrid[:rows, :columns]
    centre = rng.uniform(0.35, 0.65, 2) * (rows, columns)
    angle = np.arctan2(y - centre[0], x - centre[1])
    rays = int(rng.integers(6, 12))
    pattern = np.cos(rays * angle + rng.uniform(0, 2 * np.pi))
    near = np.hypot(y - centre[0], x - centre[1]) / (0.5 * min(rows, columns))
    return np.asarray(
        values + strength * planes(pattern * np.exp(-near), values), dtype=np.float32
    )


def _dead_lines(values: Values, strength: float, rng: Random) -> Values:
    spoiled = values.copy()
    count = max(1, round(strength * values.shape[2]))
    spoiled[:, :, rng.choice(values.shape[2], count, replace=False)] = 0
    return spoiled


def _burned_in_marks(values: Values, strength: float, rng: Random) -> Values:
    """Write bright block letters that cover that share of the picture."""
    spoiled = values.copy()
    rows, columns = values.shape[1:3]
    side = max(4, round(np.sqrt(strength * rows * columns / 4)))
    for _ in range(4):
        top = int(rng.integers(0, max(1, rows - side)))
        left = int(rng.integers(0, max(1, columns - side)))
        letter = np.kron(rng.random((5, 4)) < 0.6, np.ones((side, side)))[::5, ::4]
        part = spoiled[:, top : top + side, left : left + side]
        part[:, letter[: part.shape[1], : part.shape[2]] > 0] = 1
    return spoiled


def _vignette(values: Values, strength: float, rng: Random) -> Values:
    rows, columns = values.shape[1:3]
    y, x = np.mgrid[:rows, :columns]
    centre = rng.uniform(0.4, 0.6, 2)
    far = ((y / rows - centre[0]) ** 2 + (x / columns - centre[1]) ** 2) / 0.5
    return np.asarray(
        values * planes(np.exp(-strength * far), values), dtype=np.float32
    )


def _highlights(values: Values, strength: float, rng: Random) -> Values:
    """Wet reflections: soft white blobs over about that share of the picture."""
    field = smooth(values.shape[1:3], rng, share=0.02)
    edge = float(np.quantile(field, 1 - strength))
    blob = 1 / (1 + np.exp(-8 * (field - edge)))
    cover = planes(blob, values)
    return np.asarray(values * (1 - cover) + cover, dtype=np.float32)


def _hair(values: Values, strength: float, rng: Random) -> Values:
    """Draw dark bent lines, `strength` of them."""
    rows, columns = values.shape[1:3]
    cover = np.zeros((rows, columns))
    along = np.linspace(0, 1, 4 * max(rows, columns))
    for _ in range(round(strength)):
        ends = rng.uniform(0, 1, (3, 2)) * (rows - 1, columns - 1)
        weights = np.stack([(1 - along) ** 2, 2 * along * (1 - along), along**2])
        points = np.rint(weights.T @ ends).astype(np.int64)
        cover[points[:, 0], points[:, 1]] = 1
    cover = ndimage.gaussian_filter(cover, 0.6)
    return np.asarray(
        values * (1 - planes(cover / max(cover.max(), 1e-6), values) * 0.9),
        dtype=np.float32,
    )


def _colour_cast(values: Values, strength: float, rng: Random) -> Values:
    if values.ndim != 4:
        return values
    return np.asarray(
        values * (1 + strength * rng.choice((-1.0, 1.0), 3)).astype(np.float32),
        dtype=np.float32,
    )


ARTEFACTS: dict[str, Corruption] = {
    "quantum noise": Corruption(
        _quantum_noise, (0.05, 0.1, 0.16, 0.24, 0.34), "standard deviation at white"
    ),
    "rician noise": Corruption(
        _rician_noise, (0.04, 0.08, 0.12, 0.18, 0.26), "standard deviation per channel"
    ),
    "speckle": Corruption(
        _speckle, (0.1, 0.2, 0.3, 0.45, 0.6), "relative standard deviation"
    ),
    "impulse noise": Corruption(
        _impulse_noise, (0.005, 0.015, 0.03, 0.06, 0.1), "share of pixels"
    ),
    "bias field": Corruption(
        _bias_field, (0.15, 0.3, 0.45, 0.65, 0.9), "largest log factor"
    ),
    "ghosting": Corruption(
        _ghosting, (0.06, 0.12, 0.2, 0.3, 0.45), "strength of all ghosts together"
    ),
    "spike": Corruption(_spike, (0.05, 0.1, 0.16, 0.24, 0.35), "height of the wave"),
    "rings": Corruption(_rings, (0.03, 0.06, 0.1, 0.15, 0.22), "standard deviation"),
    "streaks": Corruption(_streaks, (0.15, 0.3, 0.5, 0.75, 1.0), "height at the metal"),
    "dead lines": Corruption(
        _dead_lines, (0.005, 0.01, 0.02, 0.04, 0.08), "share of columns"
    ),
    "burned-in marks": Corruption(
        _burned_in_marks, (0.005, 0.01, 0.02, 0.04, 0.07), "share of the picture"
    ),
    "vignette": Corruption(_vignette, (0.4, 0.8, 1.2, 1.8, 2.6), "fall-off at corners"),
    "highlights": Corruption(
        _highlights, (0.01, 0.02, 0.04, 0.07, 0.11), "share of the picture"
    ),
    "hair": Corruption(_hair, (3, 6, 10, 16, 24), "hairs"),
    "colour cast": Corruption(
        _colour_cast, (0.06, 0.12, 0.18, 0.26, 0.36), "relative change per channel"
    ),
}
"""By name."""
