"""Synthetic DICOM series on disk: valid, seeded, free of patients.

Every builder writes files and returns what it wrote, with the voxels and the map
into patient space that a reader must find again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
)

from dicom_node.identity import derive_uid
from dicom_node.records import StoredInstance

__all__ = [
    "AXIAL",
    "SyntheticSeries",
    "make_ct_series",
    "make_dx_image",
    "make_enhanced_ct",
    "pattern_hu",
    "stored_instance",
    "without",
    "write_dataset",
]

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""Direction of a row (columns grow), then of a column (rows grow), in LPS."""


@dataclass(frozen=True, eq=False)
class SyntheticSeries:
    """What a builder wrote: the truth that readers are compared with.

    ``voxels`` (frames, rows, columns) and ``affine_lps`` are in the order in
    which the positions grow along the normal of the slices (rows x columns).
    ``instances`` are in the order of Instance Number.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    instances: tuple[StoredInstance, ...]
    voxels: npt.NDArray[np.int16]
    affine_lps: npt.NDArray[np.float64] | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the order of Instance Number."""
        return tuple(instance.path for instance in self.instances)


def pattern_hu(shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
    """Draw a body with one organ on each side, and a ramp along each axis.

    No permutation or flip of the axes maps the pattern onto itself.

    Parameters
    ----------
    shape : tuple of int
        Frames, rows, columns.

    Returns
    -------
    numpy.ndarray
        Hounsfield units, shape ``shape``: air -1000, body near 40, a ball of 300
        in the low corner and a smaller one of 700 in the high columns.

    """
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    hu = np.where(x**2 + y**2 < 0.9, 40.0, -1000.0) + 0 * z
    hu = np.where((z + 0.3) ** 2 + (y + 0.3) ** 2 + (x + 0.4) ** 2 < 0.12, 300.0, hu)
    hu = np.where((z - 0.4) ** 2 + (y - 0.2) ** 2 + (x - 0.5) ** 2 < 0.05, 700.0, hu)
    ramp = sum(
        step * np.arange(n).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, (step, n) in enumerate(zip((7, 3, 1), shape, strict=True))
    )
    return np.asarray(hu + ramp).astype(np.int16)


def write_dataset(ds: Dataset, path: Path) -> StoredInstance:
    """Write a data set as a DICOM file and return it as the node stores it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return stored_instance(ds, path)


def stored_instance(ds: Dataset, path: Path) -> StoredInstance:
    """Describe a DICOM file as the node's database would."""
    return StoredInstance(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        series_instance_uid=str(ds.get("SeriesInstanceUID", "")),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def make_ct_series(
    folder: Path,
    *,
    slices: int = 8,
    rows: int = 24,
    columns: int = 32,
    spacing_mm: tuple[float, float, float] = (5.0, 0.8, 0.7),
    orientation: Sequence[Sequence[float]] = AXIAL,
    origin_lps: Sequence[float] = (-100.0, -120.0, 30.0),
    study_uid: str | None = None,
    series_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
    voxels: npt.NDArray[np.int16] | None = None,
    reverse: bool = False,
    series_number: int = 2,
    name: str = "ct",
    body_part: str = "ABDOMEN",
    changes: dict[str, object] | None = None,
) -> SyntheticSeries:
    """Write a CT Image Storage series (PS3.3 A.3).

    Parameters
    ----------
    folder : pathlib.Path
        Where the files go, one per slice.
    slices, rows, columns : int
        Size of the volume; overridden by `voxels`.
    spacing_mm : tuple of float
        Between slices, rows and columns.
    orientation : sequence
        Direction of a row, then of a column, in LPS; unit vectors.
    origin_lps : sequence of float
        Centre of the first voxel of the first slice along the normal, in mm.
    study_uid, series_uid, frame_of_reference_uid : str, optional
        Derived from `name` when absent; an empty string is written as it is.
    voxels : numpy.ndarray, optional
        Hounsfield units, shape ``(slices, rows, columns)``; `pattern_hu` when
        absent.
    reverse : bool
        Whether instance numbers run against the normal.
    series_number, name, body_part : optional
        What the headers say; `name` also keeps UIDs of series apart.
    changes : dict, optional
        Keyword to value, set on every instance last; None deletes the element.

    Returns
    -------
    SyntheticSeries
        What was written.

    """
    hu = pattern_hu((slices, rows, columns)) if voxels is None else voxels
    row, column = (np.asarray(axis, np.float64) for axis in orientation)
    affine = _affine(spacing_mm, row, column, origin_lps)
    study = derive_uid("test-study") if study_uid is None else study_uid
    series = derive_uid("test-series", name) if series_uid is None else series_uid
    frame_of_reference = (
        derive_uid("test-frame-of-reference", study)
        if frame_of_reference_uid is None
        else frame_of_reference_uid
    )
    instances = []
    for number in range(1, len(hu) + 1):
        k = len(hu) - number if reverse else number - 1
        ds = _base(CTImageStorage, study, series, "CT", series_number, body_part)
        ds.SOPInstanceUID = derive_uid("test-instance", study, series, name, str(k))
        ds.InstanceNumber = str(number)
        ds.AcquisitionNumber = "1"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientPosition = "HFS"
        ds.FrameOfReferenceUID = frame_of_reference
        ds.PositionReferenceIndicator = ""
        ds.SliceThickness = _ds(spacing_mm[0])
        ds.KVP = "120"
        ds.ImageOrientationPatient = [_ds(v) for v in (*row, *column)]
        ds.ImagePositionPatient = [_ds(v) for v in affine[:3, 3] + k * affine[:3, 0]]
        ds.PixelSpacing = [_ds(spacing_mm[1]), _ds(spacing_mm[2])]
        _set_pixels(ds, hu[k] + 1024, signed=False)
        ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
        ds.RescaleType = "HU"
        ds.WindowCenter, ds.WindowWidth = "40", "400"
        _change(ds, changes)
        instances.append(write_dataset(ds, folder / f"{name}_{number:04}.dcm"))
    return SyntheticSeries(
        study, series, frame_of_reference, tuple(instances), hu, affine
    )


def make_enhanced_ct(
    folder: Path,
    *,
    slices: int = 6,
    rows: int = 24,
    columns: int = 32,
    spacing_mm: tuple[float, float, float] = (4.0, 0.8, 0.7),
    orientation: Sequence[Sequence[float]] = AXIAL,
    origin_lps: Sequence[float] = (-100.0, -120.0, 30.0),
    study_uid: str | None = None,
    reverse: bool = False,
    name: str = "enhanced",
) -> SyntheticSeries:
    """Write one Enhanced CT multi-frame instance (PS3.3 A.38.1).

    Geometry and rescale live in the functional groups, the position alone in the
    per-frame ones. The parameters are those of `make_ct_series`.
    """
    hu = pattern_hu((slices, rows, columns))
    row, column = (np.asarray(axis, np.float64) for axis in orientation)
    affine = _affine(spacing_mm, row, column, origin_lps)
    study = derive_uid("test-study") if study_uid is None else study_uid
    series = derive_uid("test-series", name)
    frame_of_reference = derive_uid("test-frame-of-reference", study)
    ds = _base(EnhancedCTImageStorage, study, series, "CT", 3, "ABDOMEN")
    ds.SOPInstanceUID = derive_uid("test-instance", study, series, name)
    ds.InstanceNumber = "1"
    ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    ds.Manufacturer = ds.ManufacturerModelName = "SYNTHETIC"
    ds.DeviceSerialNumber = ds.SoftwareVersions = "1"
    ds.ContentDate, ds.ContentTime = "20260101", "120000"
    del ds.AcquisitionDate, ds.AcquisitionTime
    ds.AcquisitionDateTime = "20260101120000"
    ds.AcquisitionDuration = 1.0
    ds.FrameOfReferenceUID = frame_of_reference
    ds.PositionReferenceIndicator = ""
    ds.PatientPosition = "HFS"
    ds.PixelPresentation = "MONOCHROME"
    ds.VolumetricProperties = "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.ContentQualification = "RESEARCH"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.AcquisitionContextSequence = DicomSequence()
    ds.IsocenterPosition = [0.0, 0.0, 0.0]
    ds.MultienergyCTAcquisition = "NO"
    order = list(range(slices))[:: -1 if reverse else 1]
    _set_pixels(ds, np.stack([hu[k] for k in order]) + 1024, signed=False)
    ds.NumberOfFrames = str(slices)
    shared = Dataset()
    shared.PixelMeasuresSequence = [
        _item(
            PixelSpacing=[_ds(spacing_mm[1]), _ds(spacing_mm[2])],
            SliceThickness=_ds(spacing_mm[0]),
        )
    ]
    shared.PlaneOrientationSequence = [
        _item(ImageOrientationPatient=[_ds(v) for v in (*row, *column)])
    ]
    shared.PixelValueTransformationSequence = [
        _item(RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU")
    ]
    shared.IrradiationEventIdentificationSequence = [
        _item(IrradiationEventUID=derive_uid("test-irradiation", study))
    ]
    shared.FrameVOILUTSequence = [_item(WindowCenter="40", WindowWidth="400")]
    shared.CTImageFrameTypeSequence = [
        _item(
            FrameType=["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"],
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
        )
    ]
    shared.FrameAnatomySequence = [
        _item(
            FrameLaterality="U",
            AnatomicRegionSequence=[
                _item(
                    CodeValue="818981001",
                    CodingSchemeDesignator="SCT",
                    CodeMeaning="Abdomen",
                )
            ],
        )
    ]
    ds.SharedFunctionalGroupsSequence = [shared]
    per_frame = []
    for number, k in enumerate(order, start=1):
        item = Dataset()
        item.PlanePositionSequence = [
            _item(
                ImagePositionPatient=[_ds(v) for v in affine[:3, 3] + k * affine[:3, 0]]
            )
        ]
        item.FrameContentSequence = [
            _item(
                FrameAcquisitionDateTime="20260101120000",
                FrameReferenceDateTime="20260101120000",
                FrameAcquisitionDuration=1.0,
                FrameAcquisitionNumber=1,
                StackID="1",
                InStackPositionNumber=number,
                DimensionIndexValues=[number],
            )
        ]
        per_frame.append(item)
    ds.PerFrameFunctionalGroupsSequence = per_frame
    organization = derive_uid("test-dimensions", study, name)
    ds.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00209057,  # In-Stack Position Number
            FunctionalGroupPointer=0x00209111,  # Frame Content Sequence
        )
    ]
    instance = write_dataset(ds, folder / f"{name}.dcm")
    return SyntheticSeries(study, series, frame_of_reference, (instance,), hu, affine)


def make_dx_image(
    folder: Path,
    *,
    rows: int = 64,
    columns: int = 48,
    spacing_mm: tuple[float, float] | None = (0.15, 0.15),
    photometric: str = "MONOCHROME2",
    study_uid: str | None = None,
    body_part: str = "CHEST",
    name: str = "dx",
    changes: dict[str, object] | None = None,
) -> SyntheticSeries:
    """Write one Digital X-Ray image, which has no frame of reference (PS3.3 A.26).

    ``voxels`` of the result, shape ``(1, rows, columns)``, are the stored values;
    the other parameters are those of `make_ct_series`.
    """
    stored = pattern_hu((1, rows, columns)) + 1024
    study = derive_uid("test-study") if study_uid is None else study_uid
    series = derive_uid("test-series", name)
    ds = _base(
        DigitalXRayImageStorageForPresentation, study, series, "DX", 1, body_part
    )
    ds.SOPInstanceUID = derive_uid("test-instance", study, series, name)
    ds.InstanceNumber = "1"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.ContentDate, ds.ContentTime = "20260101", "120000"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageLaterality = "U"
    ds.PatientOrientation = ["L", "F"]
    ds.DetectorType = "DIRECT"
    ds.PositionerType = "NONE"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    ds.AcquisitionContextSequence = DicomSequence()
    ds.AnatomicRegionSequence = [
        _item(
            CodeValue="43799004",
            CodingSchemeDesignator="SCT",
            CodeMeaning="Thoracic cavity structure",
        )
    ]
    if spacing_mm is not None:
        ds.ImagerPixelSpacing = [_ds(value) for value in spacing_mm]
    _set_pixels(ds, stored[0], signed=False)
    ds.PhotometricInterpretation = photometric
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.WindowCenter, ds.WindowWidth = "1024", "2048"
    _change(ds, changes)
    instance = write_dataset(ds, folder / f"{name}.dcm")
    return SyntheticSeries(study, series, None, (instance,), stored, None)


def without(series: SyntheticSeries, *indices: int) -> SyntheticSeries:
    """Return the series with some instances (by Instance Number from 0) missing."""
    kept = tuple(i for n, i in enumerate(series.instances) if n not in indices)
    return replace(series, instances=kept)


def _affine(
    spacing_mm: Sequence[float],
    row: npt.NDArray[np.float64],
    column: npt.NDArray[np.float64],
    origin_lps: Sequence[float],
) -> npt.NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, 0] = np.cross(row, column) * spacing_mm[0]
    affine[:3, 1] = column * spacing_mm[1]
    affine[:3, 2] = row * spacing_mm[2]
    affine[:3, 3] = origin_lps
    return affine


def _ds(value: float) -> str:
    # A decimal string has at most 16 characters (PS3.5 6.2).
    for digits in range(14, 0, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= 16:
            return text
    msg = f"{value} does not fit a decimal string"
    raise ValueError(msg)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _base(
    sop_class_uid: str,
    study: str,
    series: str,
    modality: str,
    series_number: int,
    body_part: str,
) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class_uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20260101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "120000"
    ds.AccessionNumber = "SYNTHETIC"
    ds.Modality = modality
    ds.Manufacturer = "SYNTHETIC"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Synthetic study"
    ds.SeriesDescription = "Synthetic series"
    ds.PatientName = "Synthetic^Phantom"
    ds.PatientID = "PHANTOM-1"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.BodyPartExamined = body_part
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = series
    ds.StudyID = "1"
    ds.SeriesNumber = str(series_number)
    return ds


def _set_pixels(ds: Dataset, stored: npt.NDArray[np.int16], *, signed: bool) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(signed)
    ds.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()


def _change(ds: Dataset, changes: dict[str, object] | None) -> None:
    # Broken headers are what many tests are about; they last until they are written.
    for keyword, value in (changes or {}).items():
        if value is None:
            ds.pop(keyword, None)
            continue
        tag = tag_for_keyword(keyword)
        assert tag is not None
        ds[tag] = DataElement(
            tag, dictionary_VR(tag), value, validation_mode=config.IGNORE
        )
