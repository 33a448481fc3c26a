"""Images without a place in the patient: a cine loop and a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
)

from dicom_node.identity import derive_uid
from dicom_node.records import StoredInstance
from tests.builders.dicom_series import write_dataset

__all__ = ["make_cine", "make_photograph"]


def make_cine(
    folder: Path, *, frames: int = 5, rows: int = 24, columns: int = 32
) -> StoredInstance:
    """Write one ultrasound cine loop."""
    ds = _base("cine", UltrasoundMultiFrameImageStorage, "US")
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 255, (frames, rows, columns), dtype=np.uint8)
    _set_pixels(ds, pixels, samples=1)
    ds.NumberOfFrames = frames
    ds.FrameTime = "33.3"
    ds.FrameIncrementPointer = 0x00181063
    return write_dataset(ds, folder / "cine.dcm")


def make_photograph(
    folder: Path, *, rows: int = 20, columns: int = 30
) -> StoredInstance:
    """Write one colour photograph."""
    ds = _base("photograph", VLPhotographicImageStorage, "XC")
    generator = np.random.default_rng(4)
    pixels = generator.integers(0, 255, (rows, columns, 3), dtype=np.uint8)
    _set_pixels(ds, pixels, samples=3)
    return write_dataset(ds, folder / "photograph.dcm")


def _base(name: str, sop_class_uid: str, modality: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = derive_uid("test-instance", name)
    ds.StudyInstanceUID = derive_uid("test-study")
    ds.SeriesInstanceUID = derive_uid("test-series", name)
    ds.PatientName, ds.PatientID = "Phantom^Otto", "P1"
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    ds.StudyDate, ds.StudyTime = "20260101", "120000"
    ds.ContentDate, ds.ContentTime = "20260101", "120000"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "A1", "1", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, "1", "1"
    return ds


def _set_pixels(ds: Dataset, pixels: np.ndarray, *, samples: int) -> None:
    ds.SamplesPerPixel = samples
    ds.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[-2:] if samples == 1 else pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = pixels.tobytes()
