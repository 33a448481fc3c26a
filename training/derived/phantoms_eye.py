"""Paint fundus photographs: disc and cup, macula, and a tree of vessels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from training.derived.phantoms import Painted, blob, cloud

__all__ = ["paint_fundus"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_FINE = 3
"""Vessels are drawn on a grid so many times finer."""


def paint_fundus(rng: np.random.Generator, shape: tuple[int, int]) -> Painted:
    """Paint the back of an eye, seen through a round or clipped field."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    field_radius = rng.uniform(0.46, 0.62) * min(shape)
    middle = np.array(shape) / 2 + rng.normal(0, 0.015, 2) * rows
    radial = np.hypot(y - middle[0], x - middle[1]) / field_radius
    seen = radial < 1
    side = rng.choice([-1.0, 1.0])
    disc_radius = field_radius * rng.uniform(0.12, 0.21)
    # Some photographs are centred on the disc, most between disc and macula.
    shift = rng.uniform(0.0, 0.8) * field_radius
    disc = middle + np.array([rng.normal(0, 0.05) * field_radius, side * shift])
    gap = disc_radius * rng.uniform(4.4, 5.4)
    macula = disc + np.array([0.3 * disc_radius + rng.normal(0, 0.3), -side * gap])

    at_disc = blob(
        rng,
        shape,
        centre=(disc[0], disc[1]),
        radius=disc_radius,
        wobble=0.04,
        stretch=rng.uniform(0.95, 1.15),
    )
    cup_share = rng.uniform(0.25, 0.8)
    offset = rng.normal(0, 0.06, 2) * disc_radius
    at_cup = blob(
        rng,
        shape,
        centre=(disc[0] + offset[0], disc[1] + offset[1]),
        radius=disc_radius * cup_share,
        wobble=0.05,
    )
    fovea = np.hypot(y - macula[0], x - macula[1]) / (
        disc_radius * rng.uniform(0.8, 1.2)
    )
    vessels, thickness = _vessels(
        rng, shape, disc=disc, radius=disc_radius, reach=field_radius, side=-side
    )

    base = np.array([rng.uniform(0.45, 0.95), rng.uniform(0.2, 0.5), 0.12])
    base[2] = base[1] * rng.uniform(0.2, 0.7)
    picture = np.ones((*shape, 3)) * base
    mottle = 1 + 0.05 * cloud(rng, shape, grain=rng.uniform(1, 6))
    light = 1 - rng.uniform(0.1, 0.5) * radial**2
    light += rng.uniform(-0.2, 0.2) * (x - middle[1]) / field_radius
    picture *= (mottle * light.clip(0.2))[..., None]
    picture *= (1 - rng.uniform(0.25, 0.6) * np.exp(-(fovea**2)))[..., None]
    pale = np.array([1.0, rng.uniform(0.7, 0.9), rng.uniform(0.4, 0.7)])
    picture = _mix(picture, pale * rng.uniform(0.7, 1.0), _edge(at_disc, 0.12))
    brighter = np.minimum(1.0, pale * rng.uniform(1.0, 1.2))
    picture = _mix(picture, brighter, _edge(at_cup, 0.3) * rng.uniform(0.4, 1.0))
    dark = base * np.array([rng.uniform(0.5, 0.75), 0.4, 0.5])
    picture = _mix(picture, dark, thickness * rng.uniform(0.5, 0.95))
    picture += rng.normal(0, rng.exponential(0.012), picture.shape)
    picture *= seen[..., None]
    kept = {
        "retina": seen,
        "optic_disc": (at_disc < 1) & seen,
        "optic_cup": (at_cup < 1) & (at_disc < 1) & seen,
        "macula": (fovea < 1) & seen,
        "retinal_vessels": vessels & seen,
    }
    return Painted(picture.clip(0, 1).astype(np.float32), kept)


def _mix(
    picture: NDArray[np.float64], colour: NDArray[np.float64], share: FloatArray
) -> NDArray[np.float64]:
    """Lay a colour over a picture, more or less see-through."""
    return np.asarray(picture * (1 - share[..., None]) + colour * share[..., None])


def _edge(distance: FloatArray, softness: float) -> FloatArray:
    """Return 1 inside a blob, 0 outside, and a soft step between."""
    return ((1 + softness / 2 - distance) / softness).clip(0.0, 1.0)


def _vessels(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    disc: NDArray[np.float64],
    radius: float,
    reach: float,
    side: float,
) -> tuple[BoolArray, FloatArray]:
    """Draw four arcades round the macula with branches; return them and their cover."""
    sheet = Image.new("L", (shape[1] * _FINE, shape[0] * _FINE))
    pen = ImageDraw.Draw(sheet)
    for up in (-1.0, 1.0):
        for towards in (side, -side):
            for _ in range(int(rng.integers(1, 3))):
                heading = np.arctan2(up, towards * rng.uniform(0.1, 0.9))
                bend = -up * towards * rng.uniform(0.004, 0.02) * 60 / reach
                width = radius * rng.uniform(0.1, 0.22)
                _grow(
                    rng,
                    pen,
                    start=disc,
                    heading=heading,
                    bend=bend,
                    width=width,
                    length=reach * rng.uniform(1.0, 1.8),
                )
    cover = np.asarray(sheet, dtype=np.float32) / 255
    small = cover.reshape(shape[0], _FINE, shape[1], _FINE).mean(axis=(1, 3))
    cover = ndimage.gaussian_filter(small, 0.3)
    return cover > 0.4, cover


def _grow(
    rng: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    *,
    start: NDArray[np.float64],
    heading: float,
    bend: float,
    width: float,
    length: float,
) -> None:
    """Draw one winding vessel, and its branches after it."""
    if width < 0.3 or length < 4:
        return
    position, step, gone = np.array(start, dtype=np.float64), 2.0, 0.0
    while gone < length:
        heading += bend * step + rng.normal(0, 0.07)
        following = position + step * np.array([np.sin(heading), np.cos(heading)])
        line = [float(v) * _FINE for v in (*position[::-1], *following[::-1])]
        pen.line(line, fill=255, width=max(1, round(width * _FINE)))
        position, gone = following, gone + step
        width *= 0.985
        if rng.random() < 0.06:
            turn = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.0)
            _grow(
                rng,
                pen,
                start=position,
                heading=heading + turn,
                bend=0.0,
                width=width * 0.65,
                length=(length - gone) * 0.6,
            )
