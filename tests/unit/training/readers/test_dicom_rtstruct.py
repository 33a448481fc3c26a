"""Contours in millimetres become the pixels that they enclose."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Curve
from pydicom import Dataset, dcmread
from pydicom.uid import RTStructureSetStorage

from dicom_node.imaging import CanonicalGrid
from tests.builders.dicom_series import (
    AXIAL,
    SyntheticSeries,
    make_ct_series,
    write_dataset,
)
from tests.builders.study_results import image_series
from tests.builders.volume_files import make_spec
from training.errors import DatasetError
from training.readers import SourceImage, SourceRegion, find_reader
from training.readers.dicom_rtstruct import roi_words

_C, _S = math.cos(0.4), math.sin(0.4)
ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "oblique": ((_C, _S, 0.0), (-_S * _C, _C * _C, _S)),
}
SPACING = (5.0, 0.8, 0.7)
SLICES, ROWS, COLUMNS = 6, 40, 48


def make_images(folder: Path, orientation: str = "axial") -> SyntheticSeries:
    return make_ct_series(
        folder,
        slices=SLICES,
        rows=ROWS,
        columns=COLUMNS,
        spacing_mm=SPACING,
        orientation=ORIENTATIONS[orientation],
    )


def circle(
    frame: float, row: float, column: float, radius_mm: float
) -> np.ndarray[Any, Any]:
    """Return corners of a circle as (frame, row, column)."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return np.column_stack(
        [
            np.full(90, frame),
            row + radius_mm / SPACING[1] * np.sin(angles),
            column + radius_mm / SPACING[2] * np.cos(angles),
        ]
    )


def write_structures(
    path: Path,
    images: SyntheticSeries,
    structures: dict[str, list[np.ndarray[Any, Any]]],
    *,
    geometry: str = "CLOSED_PLANAR",
    algorithm: str = "MANUAL",
    kinds: dict[str, str] | None = None,
    refer: bool = True,
) -> Path:
    """Write an RT Structure Set; contours are in (frame, row, column)."""
    first = dcmread(images.paths[0])
    ds = Dataset()
    ds.SOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID, ds.SeriesInstanceUID = "2.25.21", "2.25.22"
    ds.StudyInstanceUID = images.study_instance_uid
    ds.Modality, ds.PatientID, ds.PatientName = "RTSTRUCT", first.PatientID, ""
    frame = Dataset()
    frame.FrameOfReferenceUID = images.frame_of_reference_uid
    if refer:
        series, study = Dataset(), Dataset()
        series.SeriesInstanceUID = images.series_instance_uid
        study.RTReferencedSeriesSequence = [series]
        frame.RTReferencedStudySequence = [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    ds.RTROIObservationsSequence = []
    assert images.affine_lps is not None
    for number, (name, contours) in enumerate(structures.items(), start=1):
        roi, outline, observed = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ROIGenerationAlgorithm = algorithm
        outline.ReferencedROINumber = observed.ReferencedROINumber = number
        observed.RTROIInterpretedType = (kinds or {}).get(name, "ORGAN")
        outline.ContourSequence = []
        for points in contours:
            lps = (
                images.affine_lps @ np.column_stack([points, np.ones(len(points))]).T
            )[:3]
            item = Dataset()
            item.ContourGeometricType = geometry
            item.NumberOfContourPoints = len(points)
            item.ContourData = [f"{value:.4f}" for value in lps.T.ravel()]
            outline.ContourSequence.append(item)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(outline)
        ds.RTROIObservationsSequence.append(observed)
    write_dataset(ds, path)
    return path


def read(root: Path) -> list[SourceImage]:
    return list(find_reader("dicom")(root, make_spec("dicom")))


def load(region: SourceRegion) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    assert region.mask is not None
    return region.mask()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_circles_become_discs_of_their_area(orientation: str, tmp_path: Path) -> None:
    images = make_images(tmp_path / "ct", orientation)
    frames = (1, 2, 4)
    contours = [circle(frame, 18.3, 20.6, 9.0) for frame in frames]
    write_structures(tmp_path / "rt.dcm", images, {"Kidney_L": contours})
    grid = CanonicalGrid.of(image_series(images.instances))

    (image,) = read(tmp_path)

    mask = load(image.regions[0])
    assert mask.shape == image.load().pixels.shape
    unturned, origin = grid.restore_mask(mask, (0, 0, 0))
    assert origin == (0, 0, 0)
    assert np.flatnonzero(unturned.any(axis=(1, 2))).tolist() == list(frames)
    for frame, contour in zip(frames, contours, strict=True):
        area_mm2 = unturned[frame].sum() * SPACING[1] * SPACING[2]
        assert area_mm2 == pytest.approx(np.pi * 81, rel=0.02)
        centres = np.argwhere(np.ones((ROWS, COLUMNS)))
        inside = Curve(contour[:, 1:]).contains_points(centres)
        np.testing.assert_array_equal(unturned[frame].ravel(), inside)


def test_structures_are_named_by_their_words(tmp_path: Path) -> None:
    images = make_images(tmp_path / "ct")
    one = [circle(1, 18, 20, 5)]
    write_structures(
        tmp_path / "rt.dcm",
        images,
        {"Lung_L": one, "SpinalCord": one, "PTV 60": one, "Couch": one, "nothing": []},
        kinds={"PTV 60": "PTV", "Couch": "SUPPORT"},
        algorithm="AUTOMATIC",
    )

    (image,) = read(tmp_path)

    assert [(one.label, one.laterality) for one in image.regions] == [
        ("left lung", "L"),
        ("spinal cord", None),
    ]
    assert {one.tier for one in image.regions} == {"pseudo"}
    assert image.label_space is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Lung_L", ("left lung", "L")),
        ("LT KIDNEY", ("left kidney", "L")),
        ("Femur-Head_R", ("right femur head", "R")),
        ("ParotidR", ("right parotid", "R")),
        ("Lungs bilat", ("both lungs", "B")),
        ("GTV-1", ("gtv 1", None)),
        ("L", ("l", None)),
        ("BrainStem", ("brain stem", None)),
    ],
)
def test_names_of_structures_give_words_and_sides(
    name: str, words: tuple[str, str | None]
) -> None:
    assert roi_words(name) == words


@pytest.mark.parametrize(
    ("geometry", "second", "kept"),
    [
        ("CLOSED_PLANAR", (18, 20, 3), "hole"),
        ("CLOSED_PLANAR", (18, 30, 6), "union"),
        ("CLOSEDPLANAR_XOR", (18, 30, 6), "difference"),
    ],
)
def test_contours_of_one_slice_are_joined(
    geometry: str, second: tuple[int, int, int], kept: str, tmp_path: Path
) -> None:
    images = make_images(tmp_path / "ct")
    outer, inner = circle(1, 18, 20, 9), circle(1, *second)
    write_structures(
        tmp_path / "rt.dcm",
        images,
        {"both": [inner, outer], "outer": [outer], "inner": [inner]},
        geometry=geometry,
    )

    (image,) = read(tmp_path)

    both, first, other = (load(region) for region in image.regions)
    joined = {
        "hole": first & ~other,
        "union": first | other,
        "difference": first ^ other,
    }
    np.testing.assert_array_equal(both, joined[kept])


@pytest.mark.parametrize(
    ("place", "slices"), [(1.3, [1]), (1.5, [1]), (1.7, [2]), (-2, []), (5.4, [5])]
)
def test_a_contour_between_slices_goes_to_the_nearest(
    place: float, slices: list[int], tmp_path: Path
) -> None:
    images = make_images(tmp_path / "ct")
    always = [circle(0, 18, 20, 5)]
    write_structures(
        tmp_path / "rt.dcm", images, {"a": always, "b": [circle(place, 18, 20, 5)]}
    )

    (image,) = read(tmp_path)

    found = [region for region in image.regions if region.label == "b"]
    assert len(found) == bool(slices)
    for region in found:
        assert np.flatnonzero(load(region).any(axis=(1, 2))).tolist() == slices


@pytest.mark.parametrize("geometry", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR"])
def test_what_encloses_nothing_is_no_region(geometry: str, tmp_path: Path) -> None:
    images = make_images(tmp_path / "ct")
    one = {"a": [circle(1, 18, 20, 5)]}
    write_structures(tmp_path / "rt.dcm", images, one, geometry=geometry)

    assert read(tmp_path) == []


def test_images_are_found_by_their_frame_of_reference(tmp_path: Path) -> None:
    images = make_images(tmp_path / "ct")
    one = {"liver": [circle(1, 18, 20, 5)]}
    write_structures(tmp_path / "rt.dcm", images, one, refer=False)

    (image,) = read(tmp_path)

    assert image.regions[0].label == "liver"


def test_structure_sets_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    images = make_images(tmp_path / "ct")
    path = write_structures(
        tmp_path / "rt.dcm", images, {"liver": [circle(1, 18, 20, 5)]}
    )
    ds = dcmread(path)
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2", "3", "4"]
    ds.save_as(path)
    with pytest.raises(DatasetError, match=r"rt\.dcm: is no structure set"):
        read(tmp_path)
    for one in images.paths:
        one.unlink()
    with pytest.raises(DatasetError, match=r"rt\.dcm: the images"):
        read(tmp_path)
