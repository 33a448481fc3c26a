"""Our geometry and voxels against two independent readers of the same files."""

from __future__ import annotations

from itertools import permutations, product

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own name for itself

from dicom_node.config import LimitSettings
from dicom_node.imaging import CanonicalGrid, PixelReader, find_series
from tests.builders.dicom_series import make_ct_series, make_enhanced_ct
from tests.builders.places import to_patient

AXES = [
    tuple(tuple(float(sign) * (i == axis) for i in range(3)) for axis, sign in pair)
    for pair in (
        ((a, s), (b, t))
        for a, b in permutations(range(3), 2)
        for s, t in product((1, -1), repeat=2)
    )
]
"""The 24 pairs of row and column direction along the body's axes."""

SPACING_MM = (3.0, 0.8, 1.1)
ORIGIN_LPS = (-31.5, 77.25, 412.0)


def oblique(degrees_x, degrees_z):
    a, b = np.deg2rad(degrees_x), np.deg2rad(degrees_z)
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_z = [[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]]
    turned = np.array(about_z) @ np.array(about_x)
    return tuple(turned[:, 0]), tuple(turned[:, 1])


PLANES = [*AXES, oblique(20, 0), oblique(-35, 10), oblique(40, -42)]


@pytest.fixture(scope="module")
def reader():
    with PixelReader(LimitSettings()) as shared:
        yield shared


def make(folder, plane, reverse):
    return make_ct_series(
        folder,
        slices=4,
        rows=5,
        columns=6,
        spacing_mm=SPACING_MM,
        orientation=plane,
        origin_lps=ORIGIN_LPS,
        reverse=reverse,
    )


def all_indices(shape):
    return np.stack(np.indices(shape), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("plane", PLANES)
def test_itk_sees_the_same_value_at_the_same_place(tmp_path, reader, plane, reverse):
    made = make(tmp_path, plane, reverse)
    (series,), _ = find_series(made.instances)
    itk_reader = sitk.ImageSeriesReader()
    itk_reader.SetFileNames(itk_reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = itk_reader.Execute()

    pixels = reader.read(series)

    indices = all_indices(pixels.shape)
    places = to_patient(series.affine_lps, indices.astype(float))
    for (k, i, j), place in zip(indices, places, strict=True):
        theirs = image.TransformPhysicalPointToIndex(place.tolist())
        back = image.TransformIndexToPhysicalPoint(theirs)
        np.testing.assert_allclose(back, place, atol=1e-3)
        assert image.GetPixel(*theirs) == pixels[k, i, j]


@pytest.mark.parametrize("plane", PLANES)
def test_highdicom_sees_the_same_volume(tmp_path, reader, plane):
    made = make(tmp_path, plane, True)
    (series,), _ = find_series(made.instances)
    volume = highdicom.get_volume_from_series(
        [pydicom.dcmread(path) for path in made.paths]
    )

    pixels = reader.read(series)

    indices = all_indices(pixels.shape)
    places = to_patient(series.affine_lps, indices.astype(float))
    theirs = volume.map_reference_to_indices(places, round_output=True)
    np.testing.assert_allclose(
        volume.map_indices_to_reference(theirs), places, atol=1e-3
    )
    np.testing.assert_array_equal(volume.array[tuple(theirs.T)], pixels.ravel())


@pytest.mark.parametrize("reverse", [False, True])
def test_highdicom_sees_the_same_enhanced_volume(tmp_path, reader, reverse):
    made = make_enhanced_ct(tmp_path, rows=5, columns=6, reverse=reverse)
    (series,), _ = find_series(made.instances)
    volume = highdicom.Image.from_dataset(pydicom.dcmread(made.paths[0])).get_volume()

    pixels = reader.read(series)

    indices = all_indices(pixels.shape)
    places = to_patient(series.affine_lps, indices.astype(float))
    theirs = volume.map_reference_to_indices(places, round_output=True)
    np.testing.assert_allclose(
        volume.map_indices_to_reference(theirs), places, atol=1e-3
    )
    np.testing.assert_array_equal(volume.array[tuple(theirs.T)], pixels.ravel())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("plane", PLANES)
def test_the_canonical_volume_is_itks_reorientation(tmp_path, reader, plane, reverse):
    made = make(tmp_path, plane, reverse)
    (series,), _ = find_series(made.instances)
    itk_reader = sitk.ImageSeriesReader()
    itk_reader.SetFileNames(itk_reader.GetGDCMSeriesFileNames(str(tmp_path)))
    # "LPS" in ITK's words: columns to the left, rows to the back, slices to the head.
    oriented = sitk.DICOMOrient(itk_reader.Execute(), "LPS")

    grid = CanonicalGrid.of(series)
    canonical = grid.apply(reader.read(series))

    np.testing.assert_array_equal(canonical, sitk.GetArrayFromImage(oriented))
    assert grid.spacing_mm == pytest.approx(oriented.GetSpacing()[::-1])
