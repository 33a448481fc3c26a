"""Radiographs and CTs to send, each a study of its own, with a report to each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
)

from tests.builders.dicom_series import make_ct_series

__all__ = ["REPORT", "Study", "write_ct_study", "write_radiograph_study"]

REPORT = (
    "FINDINGS: There is a nodule in the right lower lobe. Small pleural effusion on "
    "the left. The liver is enlarged. No pneumothorax.\n"
)


@dataclass(frozen=True, slots=True)
class Study:
    """A study on disk.

    Attributes
    ----------
    name : str
        What it is, as ``CR`` or ``CT 300``.
    uid : str
        Its Study Instance UID.
    files : tuple of pathlib.Path
        Its images.

    """

    name: str
    uid: str
    files: tuple[Path, ...]


def write_ct_study(folder: Path, number: int, *, slices: int, side: int) -> Study:
    """Write a CT: a body with two lungs and a liver, and noise, in int16."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    plane = np.where(rows**2 / 0.6 + columns**2 < 0.8, 40, -1000)
    for centre in (-0.4, 0.4):
        plane[(rows / 0.45) ** 2 + ((columns - centre) / 0.25) ** 2 < 1] = -800
    voxels = np.repeat(plane[None].astype(np.int16), slices, axis=0)
    voxels += generator.integers(-20, 20, voxels.shape, np.int16)
    made = make_ct_series(
        folder / f"ct-{number}",
        voxels=voxels,
        spacing_mm=(300.0 / slices, 400.0 / side, 400.0 / side),
        study_uid=_uid(number),
        series_uid=f"{_uid(number)}.1",
        frame_of_reference_uid=f"{_uid(number)}.2",
        changes={"PatientID": f"BENCH-{number}"},
    )
    return Study(f"CT {slices}", _uid(number), tuple(made.paths))


def write_radiograph_study(folder: Path, number: int, *, side: int) -> Study:
    """Write a chest radiograph of 12 bits."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    picture = 3000 - 1800 * ((np.abs(columns) - 0.4) ** 2 / 0.06 + rows**2 < 1)
    picture = picture + generator.integers(0, 60, picture.shape)
    ds = Dataset()
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = f"{_uid(number)}.1.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(number), f"{_uid(number)}.1"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.StudyDate = ds.SeriesDate = "20260101"
    ds.StudyTime = ds.SeriesTime = "120000"
    ds.PatientName, ds.PatientID = "Synthetic^Phantom", f"BENCH-{number}"
    ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ds.Manufacturer = ""
    ds.SeriesNumber = ds.InstanceNumber = "1"
    ds.PixelSpacing = [400.0 / side, 400.0 / side]
    ds.PatientOrientation = ["L", "F"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = side
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PixelData = picture.astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"cr-{number}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return Study("CR", _uid(number), (path,))


def _uid(number: int) -> str:
    return f"2.25.{10**20 + number}"
