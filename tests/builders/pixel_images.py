"""Images of every pixel format, with the values that a reader must find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.identity import derive_uid
from dicom_node.records import FrameReference, ImageSeries

__all__ = ["make_bomb", "make_image", "series_of"]


def make_image(
    stored: npt.NDArray[Any],
    *,
    photometric: str = "MONOCHROME2",
    bits_stored: int | None = None,
    frames: int | None = None,
    **values: object,
) -> Dataset:
    """Return a secondary capture that holds an array.

    Parameters
    ----------
    stored : numpy.ndarray
        ``(rows, columns)``, ``(rows, columns, 3)`` when the photometric
        interpretation has three samples, with a leading axis when `frames` is given.
    photometric : str
        Photometric Interpretation.
    bits_stored : int, optional
        All bits of the array's type when absent.
    frames : int, optional
        Number of Frames.
    **values : object
        Elements to set, by keyword.

    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = derive_uid("test-pixels", photometric, str(stored.shape))
    ds.StudyInstanceUID = derive_uid("test-study")
    ds.SeriesInstanceUID = derive_uid("test-series", "pixels")
    ds.Modality = "OT"
    plane = stored.shape[1:] if frames else stored.shape
    ds.Rows, ds.Columns = plane[:2]
    ds.SamplesPerPixel = 3 if len(plane) == 3 else 1
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    if frames:
        ds.NumberOfFrames = frames
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated = bits
    if stored.dtype.kind == "f":
        keyword = "FloatPixelData" if bits == 32 else "DoubleFloatPixelData"
        setattr(ds, keyword, stored.tobytes())
    else:
        ds.BitsStored = bits_stored or bits
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(stored.dtype.kind == "i")
        data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        ds.PixelData = data + bytes(len(data) % 2)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def make_bomb(
    syntax: UID, frame: bytes, *, rows: int, columns: int, bits: int = 16
) -> Dataset:
    """Return an image whose header claims more than its one frame can hold."""
    ds = make_image(np.zeros((1, 1), np.uint16 if bits == 16 else np.uint8))
    ds.Rows, ds.Columns = rows, columns
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    return ds


def series_of(ds: Dataset, path: Path) -> ImageSeries:
    """Write a data set and return the series of all its frames."""
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    count = int(ds.get("NumberOfFrames") or 1)
    return ImageSeries(
        study_instance_uid=ds.StudyInstanceUID,
        series_instance_uid=ds.SeriesInstanceUID,
        modality=ds.Modality,
        body_part=None,
        frames=tuple(
            FrameReference(
                ds.SOPInstanceUID,
                ds.SOPClassUID,
                number,
                path,
                number_of_frames=count,
            )
            for number in range(1, count + 1)
        ),
        rows=ds.Rows,
        columns=ds.Columns,
        is_colour=ds.SamplesPerPixel == 3
        or ds.PhotometricInterpretation == "PALETTE COLOR",
        pixel_spacing_mm=None,
        affine_lps=None,
        frame_of_reference_uid=None,
    )
