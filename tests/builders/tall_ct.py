"""A study as tall as a torso, made of the real CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.builders.pacs_study import PacsStudy, make_study

__all__ = ["make_tall_study"]


def make_tall_study(
    folder: Path, *, slices: int = 300, spacing_mm: float = 1.5
) -> PacsStudy:
    """Stretch the real CT along the body's axis and write it with its report.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files go.
    slices : int
        How many 512 x 512 slices.
    spacing_mm : float
        Distance between them as their headers tell it: the anatomy is stretched, so
        that the volume has the size of a torso's CT.

    """
    source = make_study(folder / "source")
    images = [pydicom.dcmread(path) for path in source.images]
    images.sort(key=lambda image: image.ImagePositionPatient[2])
    stack = np.stack([image.pixel_array for image in images]).astype(np.float32)
    positions = np.linspace(0, len(images) - 1, slices)
    paths = []
    for number, position in enumerate(positions):
        below = min(int(position), len(images) - 2)
        part = np.float32(position - below)
        pixels = stack[below] * (1 - part) + stack[below + 1] * part
        ds = images[below]
        ds.PixelData = np.rint(pixels).astype(np.uint16).tobytes()
        ds["PixelData"].VR = "OW"
        ds.SOPInstanceUID = generate_uid()
        ds.InstanceNumber = number + 1
        x, y, _ = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, -1000 + number * spacing_mm]
        ds.SliceLocation = ds.ImagePositionPatient[2]
        ds.SliceThickness = spacing_mm
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"ct-{number:03}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return PacsStudy(
        source.study_instance_uid,
        source.series_instance_uid,
        tuple(paths),
        source.report,
    )
