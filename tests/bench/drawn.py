"""Pictures for the model that anybody can draw again: a trunk of a body, any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID, CTImageStorage
from scipy import ndimage

from dicom_node.records import FrameReference, ImageSeries
from model.parity import probe_stacks
from model.records import ImageStack

__all__ = ["draw_ct", "draw_radiograph", "series_of"]

_ROOT = "1.2.826.0.1.3680043.10.543"


def draw_ct(slices: int, *, slice_mm: float, side: int = 512) -> ImageStack:
    """Return a CT of a drawn trunk: float32, as the node decodes one."""
    plane = _plane(side, side)
    noise = np.random.default_rng(0).normal(0, 8, plane.shape).astype(np.float32)
    pixels = np.empty((slices, side, side), dtype=np.float32)
    for index in range(slices):
        pixels[index] = plane + np.roll(noise, 7 * index, axis=0)
    millimetres = 400.0 / side
    spacing = (slice_mm, millimetres, millimetres)
    return ImageStack(pixels, spacing, "CT", "ABDOMEN", is_volume=True)


def draw_radiograph(rows: int, columns: int) -> ImageStack:
    """Return one radiograph of the drawn trunk, without absolute units."""
    pixels = 2048 + _plane(rows, columns)[None]
    millimetres = 350.0 / rows
    spacing = (0.0, millimetres, millimetres)
    return ImageStack(pixels, spacing, "CR", "CHEST", is_volume=False)


def _plane(rows: int, columns: int) -> NDArray[np.float32]:
    plane = probe_stacks()[0].pixels[3]
    zoom = (rows / plane.shape[0], columns / plane.shape[1])
    drawn: NDArray[np.float32] = ndimage.zoom(plane, zoom, order=1)
    return drawn


def series_of(stack: ImageStack) -> ImageSeries:
    """Describe a stack as a series of the node, without its files."""
    spacing = stack.spacing_mm or (1.0, 1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = (*spacing, 1.0)  # slices up, rows back
    slices, rows, columns = stack.pixels.shape
    return ImageSeries(
        study_instance_uid=UID(f"{_ROOT}.1"),
        series_instance_uid=UID(f"{_ROOT}.1.{slices}"),
        modality=stack.modality,
        body_part=stack.body_part,
        frames=tuple(
            FrameReference(
                sop_class_uid=CTImageStorage,
                sop_instance_uid=UID(f"{_ROOT}.1.{slices}.{index + 1}"),
                frame_number=1,
                path=Path("never-read.dcm"),
            )
            for index in range(slices)
        ),
        rows=rows,
        columns=columns,
        is_colour=False,
        pixel_spacing_mm=spacing[1:],
        affine_lps=affine if stack.is_volume else None,
        frame_of_reference_uid=UID(f"{_ROOT}.2") if stack.is_volume else None,
    )
