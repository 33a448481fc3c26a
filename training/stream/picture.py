"""Turn one stored sample into network channels and the places of its phrases.

The road is that of serving (`model.grid.choose_grid`, `model.processing`): the model's
pixel size, the same windows, the same neighbours of a slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import MedGLIPConfig
from model.grid import choose_grid
from model.processing import normalise_units, window_channels
from training.errors import DatasetError
from training.laterality import is_mirrorable, swap_laterality
from training.layout import PictureInfo, stored_slab, to_units
from training.records import ImageRecord, PhraseRegion
from training.rle import decode_rle
from training.stream.field import (
    BoolArray,
    Field,
    FloatArray,
    fill_boxes,
    resize,
    shrink_mask,
    tight_box,
)

__all__ = ["Drawn", "Place", "PlacedPicture", "draw_picture"]

_AIR_HU = -1024.0
_SOFT_LOW, _SOFT_WIDTH = -160.0, 400.0
"""Where `model.processing.normalise_units` lays relative values."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Rec. ITU-R BT.601-7: how serving makes grey of colour."""
_TIGHT = 0.25
"""A place of which less is left on the field is neither there nor not there."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Place:
    """One phrase of a picture, with what is known of where it is on the field."""

    text: str
    label: str
    status: str
    """present, absent, or unknown"""
    weight: float
    is_outlined: bool
    """`masks` are true to the pixel and hold all there is; False: boxes, or parts"""
    boxes_xyxy: NDArray[np.float64]
    """(pieces, 4) pixels of the field"""
    masks: BoolArray
    """(pieces, rows, columns) of the field; boxes filled where there is no outline"""


@dataclass(frozen=True, eq=False, kw_only=True)
class PlacedPicture:
    """One picture as the network sees it."""

    pixels: FloatArray
    """(channels, rows, columns)"""
    modality: str
    body_part: str | None
    places: tuple[Place, ...]
    label_space: tuple[str, ...]
    sample_id: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """Chance of one draw, taken before anything is done with it."""

    zoom: float = 1.0
    place: tuple[float, float] = (0.5, 0.5)
    """Where the field lies, in [0, 1] of what is possible"""
    mirror: bool = False
    gain: float = 1.0
    shift: float = 0.0
    """Of relative units, in parts of the soft-tissue window"""

    @classmethod
    def draw(cls, rng: np.random.Generator, *, mirror: float) -> Drawn:
        """Draw the chance of one picture; `mirror` is the share of mirrored ones."""
        return cls(
            zoom=float(np.exp(np.clip(rng.normal(0.0, 0.1), -0.25, 0.25))),
            place=(float(rng.random()), float(rng.random())),
            mirror=bool(rng.random() < mirror),
            gain=float(np.exp(rng.normal(0.0, 0.08))),
            shift=float(rng.normal(0.0, 0.04)),
        )


def draw_picture(
    members: Mapping[str, bytes],
    *,
    config: MedGLIPConfig,
    shape: tuple[int, int],
    drawn: Drawn,
) -> PlacedPicture:
    """Decode, resample, window, and place every phrase of one sample.

    Raises
    ------
    TrainingError
        The record or a picture is damaged, or they contradict each other.
    """
    try:
        record = ImageRecord.from_json(members["json"])
        stored, offsets, info = stored_slab(members)
    except (KeyError, TypeError, OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"a sample cannot be decoded: {error!r}") from error
    if stored.shape[1:3] != (record.height, record.width):
        raise DatasetError("a picture is not of the size that its record says")
    mirror = drawn.mirror and _may_mirror(record)
    nearest = _nearest(offsets, info, config.slice_offsets_mm)
    used = sorted(set(nearest))
    field = _field(record, config=config, shape=shape, drawn=drawn, mirror=mirror)
    planes = _see(stored[used], info, field, drawn)
    planes = planes[[used.index(one) for one in nearest]]
    places = tuple(_place(region, record, field) for region in record.regions)
    space = record.label_space or ()
    if mirror:
        space = tuple(map(swap_laterality, space))
        places = tuple(
            replace(
                place,
                text=swap_laterality(place.text),
                label=swap_laterality(place.label),
            )
            for place in places
        )
    return PlacedPicture(
        pixels=window_channels(torch.from_numpy(planes)).numpy(),
        modality=record.modality,
        body_part=record.body_part,
        places=places,
        label_space=space,
        sample_id=members.get("__key__", b"").decode("ascii", "replace"),
    )


def _may_mirror(record: ImageRecord) -> bool:
    """Whether every word about the picture has a mirror image."""
    texts = {record.body_part or "", *(record.label_space or ())}
    for region in record.regions:
        texts |= {region.phrase, region.label or ""}
    return all(map(is_mirrorable, texts))


def _nearest(
    offsets: tuple[int, ...], info: PictureInfo, wanted_mm: tuple[float, ...]
) -> list[int]:
    """Return which stored slice is the nearest to each distance from the picture."""
    here = {neighbour.offset: neighbour.offset_mm for neighbour in info.neighbours}
    here[0] = 0.0
    distances = np.array([here[offset] for offset in offsets])
    return [int(np.abs(distances - mm).argmin()) for mm in wanted_mm]


def _field(
    record: ImageRecord,
    *,
    config: MedGLIPConfig,
    shape: tuple[int, int],
    drawn: Drawn,
    mirror: bool,
) -> Field:
    spacing = record.spacing_mm
    grid = choose_grid(
        (1, record.height, record.width),
        None if spacing is None else (0.0, *spacing),
        is_volume=False,
        pixel_mm=config.pixel_spacing_mm,
    )
    rows = max(1, round(grid.rows * drawn.zoom))
    columns = max(1, round(grid.columns * drawn.zoom))
    spare = (rows - shape[0], columns - shape[1])
    offset = tuple(
        round(gap * share) for gap, share in zip(spare, drawn.place, strict=True)
    )
    return Field((rows, columns), (offset[0], offset[1]), shape, mirror)


def _see(
    stored: NDArray[Any], info: PictureInfo, field: Field, drawn: Drawn
) -> FloatArray:
    """Resample, bring to Hounsfield units or their likeness, cut the field."""
    if info.units == "rgb":
        stored = stored @ _LUMINANCE
    # Resampling is linear, so the few pixels that are left can be scaled after it.
    planes = to_units(resize(stored.astype(np.float32), field.size), info)
    if info.units == "HU":
        planes = normalise_units(planes, "CT")
        return field.cut(planes, _AIR_HU)
    if info.units == "rgb" or info.high <= info.low:
        planes = normalise_units(planes, "OT")
    else:
        # The ends are those of the whole volume, as serving sees them.
        scale = _SOFT_WIDTH / (info.high - info.low)
        planes = np.asarray((planes - info.low) * scale + _SOFT_LOW, dtype=np.float32)
    planes = planes * np.float32(drawn.gain) + np.float32(drawn.shift * _SOFT_WIDTH)
    return field.cut(planes, float(planes.min()))


def _place(region: PhraseRegion, record: ImageRecord, field: Field) -> Place:
    source = (record.height, record.width)
    label = region.label or region.phrase
    boxes = np.asarray(region.bbox, dtype=np.float64).reshape(-1, 4)
    moved = field.move(boxes, source)
    clipped = moved.clip(0, [field.shape[1], field.shape[0]] * 2)
    status = _status(region, moved, clipped)
    if region.mask is not None and status == "present":
        masks = _masks(region, source, field)
        clipped = np.array([tight_box(mask) for mask in masks]).reshape(-1, 4)
    else:
        masks = fill_boxes(clipped, field.shape)
    kept = masks.any((1, 2))
    if status == "present" and not kept.any():
        status = "unknown"
    weight = region.weight * (0.5 if region.status == "uncertain" else 1.0)
    weight *= 1.0 if region.complete else 0.5
    return Place(
        text=region.phrase,
        label=label,
        status=status,
        weight=weight,
        is_outlined=region.mask is not None and region.complete,
        boxes_xyxy=clipped[kept],
        masks=masks[kept],
    )


def _status(
    region: PhraseRegion, moved: NDArray[np.float64], clipped: NDArray[np.float64]
) -> str:
    """Return what can be said of a phrase on the field alone."""
    if region.ignore:
        return "unknown"
    if region.status == "absent":
        return "absent"
    if not len(moved):
        return "unknown"
    left = float(_areas(clipped).sum() / max(float(_areas(moved).sum()), 1e-9))
    return "present" if left >= _TIGHT else "unknown"


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _masks(region: PhraseRegion, source: tuple[int, int], field: Field) -> BoolArray:
    """Return (pieces, rows, columns): pixels that a piece covers by half at least."""
    pieces = []
    for mask in region.mask or ():
        try:
            piece = decode_rle(mask)
        except ValueError as error:
            raise DatasetError(f"a mask cannot be decoded: {error}") from error
        if piece.shape != source:
            raise DatasetError("a mask is not of the size of its picture")
        pieces.append(shrink_mask(piece, field.size))
    return field.cut(np.stack(pieces).astype(np.float32), 0.0) > 0
