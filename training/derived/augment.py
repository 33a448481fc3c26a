"""Make many patients out of few: shape, contrast phase, content, noise, field.

Only one patient carries abdominal CT labels, so augmentation is the data set. Every
transform draws its parameters from the generator it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.derived.volumes import STRUCTURES, LabelledVolume

__all__ = ["Slab", "contrast_phase", "draw_slab", "synthetic_ct"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Slab:
    """Neighbouring slices in model geometry with their labels."""

    image: FloatArray
    """(offsets, rows, columns)"""
    labels: NDArray[np.uint8]
    """(offsets, rows, columns)"""


def draw_slab(
    volume: LabelledVolume,
    rng: np.random.Generator,
    *,
    offsets_mm: tuple[float, ...],
    shape: tuple[int, int],
    pixel_mm: float,
    short_series: bool = True,
) -> Slab:
    """Cut a slab through a randomly deformed copy of `volume`.

    The patient is scaled (separately along each axis), rotated, shifted and bent;
    the stack may end just above or below the slice, as a short series does.
    """
    slices = len(volume.image)
    extent = np.array(volume.image.shape) * volume.spacing_mm
    size = rng.uniform(0.75, 1.3)
    scale = size * np.exp(rng.normal(0.0, 0.08, 3)).astype(np.float64)
    angles = np.deg2rad(rng.normal(0.0, (8.0, 4.0, 4.0)))  # in plane, two tilts
    rotation = _rotation(angles)
    centre = extent / 2
    # The upper half of the torso is the harder and the more asked-for one.
    upper = volume.name == "torso_ct" and rng.random() < 0.7
    centre[0] = rng.uniform(0.55 if upper else 0.0, 1.0) * extent[0]
    centre[1:] += rng.normal(0.0, (20.0, 25.0))

    offsets = np.array(offsets_mm) * np.exp(rng.normal(0.0, 0.2))
    if (
        short_series and rng.random() < 0.5
    ):  # a short series: beyond its end the last slice repeats
        offsets = offsets.clip(-rng.exponential(12.0), rng.exponential(12.0))
    # The volume itself ends, too; its first and last slice repeat.
    offsets = (centre[0] + offsets / scale[0]).clip(0, extent[0]) - centre[0]
    offsets *= scale[0]
    y = (np.arange(shape[0]) - (shape[0] - 1) / 2) * pixel_mm
    x = (np.arange(shape[1]) - (shape[1] - 1) / 2) * pixel_mm
    grid = np.stack(np.meshgrid(offsets, y, x, indexing="ij"))  # (3, z, y, x)
    grid = grid + _bend(rng, grid.shape[1:])
    points = np.tensordot(rotation, grid, axes=1) / scale[:, None, None, None]
    points = points + centre[:, None, None, None]
    points[0] = points[0].clip(0, extent[0])
    index = points / np.array(volume.spacing_mm)[:, None, None, None] - 0.5
    index[0] = index[0].clip(0, slices - 1)
    air = -1000.0 if volume.modality == "CT" else float(np.median(volume.image[:, 0]))
    image = ndimage.map_coordinates(
        volume.image, index, order=1, cval=air, prefilter=False
    )
    labels = ndimage.map_coordinates(volume.labels, index, order=0, cval=0)
    return Slab(image.astype(np.float32), labels.astype(np.uint8))


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compose rotations about the axes S, P and L."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (i for i in range(3) if i != axis)
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ step
    return matrix


def _bend(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw a smooth displacement field in mm: (3, z, y, x), the same in every slice."""
    coarse = rng.normal(0.0, 1.0, (3, 5, 6))
    strength = rng.uniform(0.0, 10.0) * np.array([0.4, 1.0, 1.0])
    zoom = (1, shape[1] / 5, shape[2] / 6)
    field = ndimage.zoom(coarse, zoom, order=3)[:, : shape[1], : shape[2]]
    bend: NDArray[np.float64] = field[:, None] * strength[:, None, None, None]
    return bend  # (3, 1, y, x)


def _ids(*prefixes: str) -> NDArray[np.uint8]:
    return np.array(
        [i + 1 for i, name in enumerate(STRUCTURES) if name.startswith(prefixes)],
        dtype=np.uint8,
    )


_ARTERIES = _ids("aorta", "iliac_artery", "pulmonary_artery")
_VEINS = _ids("inferior_vena_cava", "iliac_vena")
_PORTAL = _ids("portal_vein")
_HEART = _ids("heart")
_LIVER = _ids("liver")
_SPLEEN = _ids("spleen")
_KIDNEYS = _ids("kidney_left", "kidney_right")
_GLANDS = _ids("pancreas", "adrenal", "prostate")
_FLUIDS = _ids("gallbladder", "urinary_bladder")
_MUSCLES = _ids("autochthon", "iliopsoas", "gluteus")
_BONES = _ids("vertebrae", "rib_", "sacrum", "hip_", "femur")
_CORD = _ids("spinal_cord", "intervertebral")
_SPINE = _ids("vertebrae", "sacrum")
_CAVA = _ids("inferior_vena_cava")
_STOMACH = _ids("stomach")
_BOWEL = _ids("duodenum", "small_bowel", "colon")
_LUNGS = _ids("lung_")


def _targets(rng: np.random.Generator) -> list[tuple[NDArray[np.uint8], float, bool]]:
    """Draw mean HU of each tissue in one contrast phase; True: rib by rib kept."""
    phase = rng.choice(4, p=(0.2, 0.2, 0.4, 0.2))  # native, arterial, portal, late
    u = rng.uniform
    aorta = (u(30, 55), u(220, 420), u(120, 190), u(80, 125))[phase]
    cava = (u(28, 50), u(40, 130), u(90, 180), u(80, 125))[phase]
    portal = (u(28, 50), u(45, 120), u(120, 200), u(85, 125))[phase]
    liver = (u(35, 65), u(50, 80), u(85, 130), u(75, 105))[phase]
    spleen = (u(38, 55), u(80, 140), u(100, 140), u(80, 110))[phase]
    kidney = (u(20, 40), u(110, 190), u(140, 210), u(110, 190))[phase]
    gland = (u(20, 45), u(60, 110), u(75, 115), u(60, 90))[phase]
    if u() < 0.15:
        liver = u(-10, 35)  # steatosis
    return [
        (_ARTERIES, aorta, False),
        (_HEART, (u(30, 50), u(200, 400), u(110, 170), u(80, 120))[phase], False),
        (_VEINS, cava, False),
        (_PORTAL, portal, False),
        (_LIVER, liver, False),
        (_SPLEEN, spleen, False),
        (_KIDNEYS, kidney, False),
        (_GLANDS, gland, False),
        (_FLUIDS, u(-5, 25) if u() < 0.8 else u(60, 300), False),
        (_MUSCLES, u(25, 70), False),
        (_BONES, u(110, 380), True),
        (_CORD, u(15, 45), False),
    ]


def contrast_phase(slab: Slab, rng: np.random.Generator) -> Slab:
    """Re-colour labelled tissue as another contrast phase would show it.

    The texture of each structure stays, its mean moves; stomach and bowel may be
    filled with gas, water, food or positive contrast.
    """
    if rng.random() < 0.35:
        slab = _flatten_cava(slab, rng)
    image = slab.image.copy()
    shift = np.zeros_like(image)
    for ids, mean, _ in _targets(rng):
        inside = np.isin(slab.labels, ids)
        if inside.any():
            shift[inside] = mean - image[inside].mean()
    shift = ndimage.gaussian_filter(shift, (0, 0.5, 0.5))
    image += shift
    if rng.random() < 0.5:
        image = _remodel_bone(image, np.isin(slab.labels, _SPINE), rng)
    for ids, chance in ((_STOMACH, 0.85), (_BOWEL, 0.4)):
        if rng.random() < chance:
            image = _fill(image, np.isin(slab.labels, ids), rng)
    return Slab(image, slab.labels)


def _flatten_cava(slab: Slab, rng: np.random.Generator) -> Slab:
    """Empty the inferior vena cava: its calibre follows breath and blood volume.

    The rim that it gives up becomes whatever lies nearest to it.
    """
    inside = np.isin(slab.labels, _CAVA)
    if not inside.any():
        return slab
    flat = rng.random() < 0.6  # flattened from front to back, or thinner all around
    shape = np.array([[0, 1, 0], [flat < 1, 1, flat < 1], [0, 1, 0]], dtype=np.bool_)
    kept = ndimage.binary_erosion(
        inside, shape[None], iterations=int(rng.integers(1, 3))
    )
    kept = np.where(kept.any(axis=(1, 2))[:, None, None], kept, inside)
    nearest = ndimage.distance_transform_edt(
        inside, sampling=(1e3, 1, 1), return_distances=False, return_indices=True
    )
    given = inside & ~kept
    image, labels = slab.image.copy(), slab.labels.copy()
    image[given] = slab.image[tuple(nearest)][given]
    labels[given] = slab.labels[tuple(nearest)][given]
    return Slab(image, labels)


def _remodel_bone(
    image: FloatArray, bone: NDArray[np.bool_], rng: np.random.Generator
) -> FloatArray:
    """Make bone denser here and thinner there, as age and disease do."""
    if not bone.any():
        return image
    coarse = ndimage.gaussian_filter(rng.normal(size=image.shape), (1, 3, 3))
    coarse *= rng.uniform(40, 250) / max(float(coarse.std()), 1e-6)
    contrast = np.exp(rng.normal(0.0, 0.35))
    mean = image[bone].mean()
    changed = mean + contrast * (image - mean) + coarse
    return np.where(bone, np.maximum(changed, -50.0), image).astype(np.float32)


def _fill(
    image: FloatArray, region: NDArray[np.bool_], rng: np.random.Generator
) -> FloatArray:
    """Fill a hollow organ: wall, content with a fluid level, gas above it."""
    if not region.any():
        return image
    wall = rng.integers(0, 3)
    lumen = region
    if wall:
        cross = ndimage.generate_binary_structure(2, 1)[None]
        lumen = ndimage.binary_erosion(region, cross, iterations=int(wall))
    image = np.where(region & ~lumen, rng.uniform(30, 100), image)
    kind = rng.random()
    if kind < 0.4:
        content, rough = rng.uniform(-5, 30), 5.0  # water
    elif kind < 0.8:
        content, rough = rng.uniform(10, 80), 30.0  # food
    else:
        content, rough = rng.uniform(120, 400), 30.0  # positive contrast
    texture = ndimage.gaussian_filter(rng.normal(size=image.shape), (0.5, 1.2, 1.2))
    filled = content + texture * rough * 4
    rows = np.nonzero(lumen.any(axis=(0, 2)))[0]
    if len(rows) and rng.random() < 0.7:  # gas rises to the front of a lying patient
        level = rows[0] + (rows[-1] - rows[0] + 1) * rng.uniform(0.0, 0.7)
        filled = np.where(
            np.arange(image.shape[1])[None, :, None] < level, -950.0, filled
        )
    result: FloatArray = np.where(lumen, filled, image).astype(np.float32)
    blurred = ndimage.gaussian_filter(result, (0, 0.5, 0.5))
    return np.where(region, blurred, result).astype(np.float32)


def synthetic_ct(slab: Slab, rng: np.random.Generator) -> Slab:
    """Paint an MR slab in CT colours: labelled tissue by name, the rest by brightness.

    Anatomy of a second patient for the abdominal organs; fat is bright in the source.
    """
    source = slab.image
    low, high = np.percentile(source, (5.0, 95.0))
    bright = ((source - low) / max(float(high - low), 1e-6)).clip(0.0, 1.3)
    body = ndimage.binary_closing(bright > 0.15, np.ones((1, 3, 3)), iterations=3)
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    fat = rng.uniform(-120, -80)
    flesh = rng.uniform(30, 65)
    share = ((bright - 0.45) * 4).clip(0.0, 1.0)
    image = np.where(body, flesh * (1 - share) + fat * share, -1000.0)
    texture = source - ndimage.gaussian_filter(source, (0, 3, 3))
    texture *= rng.uniform(5, 20) / max(float(texture[body].std()), 1e-6)
    tissue = [*_targets(rng), (_STOMACH, rng.uniform(0, 80), False)]
    tissue += [(_BOWEL, rng.uniform(0, 60), False), (_LUNGS, -800.0, False)]
    for ids, mean, is_bone in tissue:
        inside = np.isin(slab.labels, ids)
        image = np.where(inside, mean, image)
        if is_bone and inside.any():  # a dense rim around spongy bone
            rim = inside & ~ndimage.binary_erosion(
                inside, ndimage.generate_binary_structure(2, 1)[None]
            )
            image = np.where(rim, mean + rng.uniform(50, 300), image)
    image = ndimage.gaussian_filter(image, (0, 0.6, 0.6)) + texture * body
    painted = Slab(image.astype(np.float32), slab.labels)
    if rng.random() < 0.7:
        region = np.isin(slab.labels, _STOMACH)
        painted = Slab(_fill(painted.image, region, rng), slab.labels)
    return painted
