"""Turn one stored sample into network channels and the places of its phrases.

The road is that of serving (`model.grid.choose_grid`, `model.processing`): the model's
pixel size, the same windows, the same neighbours of a slice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from model.config import MedGLIPConfig
from model.grid import choose_grid
from model.processing import normalise_units, window_channels
from training.errors import DatasetError
from training.laterality import is_mirrorable, swap_laterality
from training.layout import PictureInfo, stored_slab, to_units
from training.records import ImageRecord, PhraseRegion
from training.rle import decode_rle

__all__ = ["BoolArray", "Drawn", "Place", "PlacedPicture", "draw_picture"]

_AIR_HU = -1024.0
_SOFT_LOW, _SOFT_WIDTH = -160.0, 400.0
"""Where `model.processing.normalise_units` lays relative values."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Rec. ITU-R BT.601-7: how serving makes grey of colour."""
_TIGHT = 0.25
"""A place of which less is left on the field is neither there nor not there."""

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


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


@dataclass(frozen=True)
class _Field:
    """Where the field lies on the resampled picture."""

    size: tuple[int, int]
    """(rows, columns) of the resampled picture"""
    offset: tuple[int, int]
    """Of the field's first pixel; negative: it begins before the picture"""
    shape: tuple[int, int]
    mirror: bool

    def cut(self, planes: NDArray[np.float32], fill: float) -> FloatArray:
        """Return (n, *shape) of (n, *size), mirrored where that was drawn."""
        result = np.full((len(planes), *self.shape), fill, dtype=np.float32)
        spans = []
        for size, offset, length in zip(
            self.size, self.offset, self.shape, strict=True
        ):
            first, last = max(0, offset), min(size, offset + length)
            spans.append((slice(first, last), slice(first - offset, last - offset)))
        (y_from, y_to), (x_from, x_to) = spans
        result[:, y_to, x_to] = planes[:, y_from, x_from]
        return result[..., ::-1] if self.mirror else result

    def move(
        self, boxes: NDArray[np.float64], source: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Map (n, 4) boxes of a `source` (rows, columns) picture to the field."""
        scale = np.array([self.size[1] / source[1], self.size[0] / source[0]] * 2)
        moved: NDArray[np.float64] = boxes * scale - np.array(
            [self.offset[1], self.offset[0]] * 2
        )
        if self.mirror:
            moved[:, [0, 2]] = self.shape[1] - moved[:, [2, 0]]
        return moved


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
        pixels=window_channels(planes),
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
) -> _Field:
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
    return _Field((rows, columns), (offset[0], offset[1]), shape, mirror)


def _see(
    stored: NDArray[Any], info: PictureInfo, field: _Field, drawn: Drawn
) -> FloatArray:
    """Resample, bring to Hounsfield units or their likeness, cut the field."""
    if info.units == "rgb":
        stored = stored @ _LUMINANCE
    # Resampling is linear, so the few pixels that are left can be scaled after it.
    planes = to_units(_resize(stored.astype(np.float32), field.size), info)
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


def _resize(planes: FloatArray, size: tuple[int, int]) -> FloatArray:
    tensor = torch.from_numpy(np.ascontiguousarray(planes))[:, None]
    small = functional.interpolate(tensor, size=size, mode="bilinear", antialias=True)
    result: FloatArray = small[:, 0].numpy()
    return result


def _place(region: PhraseRegion, record: ImageRecord, field: _Field) -> Place:
    source = (record.height, record.width)
    label = region.label or region.phrase
    boxes = np.asarray(region.bbox, dtype=np.float64).reshape(-1, 4)
    moved = field.move(boxes, source)
    clipped = moved.clip(0, [field.shape[1], field.shape[0]] * 2)
    status = _status(region, moved, clipped)
    if region.mask is not None and status == "present":
        masks = _masks(region, source, field)
        clipped = np.array([_tight(mask) for mask in masks]).reshape(-1, 4)
    else:
        masks = _filled(clipped, field.shape)
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


def _masks(region: PhraseRegion, source: tuple[int, int], field: _Field) -> BoolArray:
    """Return (pieces, rows, columns): pixels that a piece covers by half at least."""
    pieces = []
    for mask in region.mask or ():
        try:
            piece = decode_rle(mask)
        except ValueError as error:
            raise DatasetError(f"a mask cannot be decoded: {error}") from error
        if piece.shape != source:
            raise DatasetError("a mask is not of the size of its picture")
        pieces.append(_shrink(piece, field.size))
    return field.cut(np.stack(pieces).astype(np.float32), 0.0) > 0


def _shrink(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """Resample a mask; only what its box holds is looked at."""
    result = np.zeros(size, dtype=np.bool_)
    box = _tight(mask)
    if box[2] <= box[0]:
        return result
    scale = (mask.shape[1] / size[1], mask.shape[0] / size[0])
    left, right = int(box[0] / scale[0]), math.ceil(box[2] / scale[0])
    top, bottom = int(box[1] / scale[1]), math.ceil(box[3] / scale[1])
    right, bottom = min(right, size[1]), min(bottom, size[0])
    cover = np.asarray(
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).resize(
            (right - left, bottom - top),
            Image.Resampling.BOX,
            box=(
                left * scale[0],
                top * scale[1],
                min(right * scale[0], mask.shape[1]),
                min(bottom * scale[1], mask.shape[0]),
            ),
        )
    )
    # What is too thin to cover half a pixel keeps the pixels it covers most.
    result[top:bottom, left:right] = cover >= min(128, max(int(cover.max()), 1))
    return result


def _tight(mask: BoolArray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def _filled(boxes: NDArray[np.float64], shape: tuple[int, int]) -> BoolArray:
    """Return (n, rows, columns): pixels whose centres a box holds, one at least."""
    masks = np.zeros((len(boxes), *shape), dtype=np.bool_)
    for mask, (left, top, right, bottom) in zip(masks, boxes.tolist(), strict=True):
        if right <= left or bottom <= top:
            continue
        rows = _span(top, bottom, shape[0])
        columns = _span(left, right, shape[1])
        mask[rows, columns] = True
    return masks


def _span(low: float, high: float, length: int) -> slice:
    first, last = round(low), round(high)
    if last <= first:
        first = min(int((low + high) / 2), length - 1)
        last = first + 1
    return slice(first, last)
