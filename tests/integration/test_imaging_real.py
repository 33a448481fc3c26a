"""Real images of many devices: what they become, and that their values are right."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from dicom_node.config import LimitSettings
from dicom_node.header import read_header
from dicom_node.imaging import PixelReader, find_series
from dicom_node.imaging.geometry import voxel_spacing_mm
from dicom_node.opendata import fetch_totalsegmentator
from dicom_node.records import StoredInstance

VOLUME, IMAGES = True, False

FILES = {
    # Computed tomography: signed and unsigned, classic and enhanced.
    "CT_small.dcm": (VOLUME, (1, 128, 128)),
    "693_UNCR.dcm": (VOLUME, (1, 512, 512)),
    "693_J2KR.dcm": (VOLUME, (1, 512, 512)),
    "693_J2KI.dcm": (VOLUME, (1, 512, 512)),
    "J2K_pixelrep_mismatch.dcm": (VOLUME, (1, 512, 512)),
    "explicit_VR-UN.dcm": (VOLUME, (1, 512, 512)),
    "eCT_Supplemental.dcm": (VOLUME, (2, 512, 512)),
    # Magnetic resonance in many transfer syntaxes.
    "MR_small.dcm": (VOLUME, (1, 64, 64)),
    "MR_small_RLE.dcm": (VOLUME, (1, 64, 64)),
    "MR_small_bigendian.dcm": (VOLUME, (1, 64, 64)),
    "MR_small_implicit.dcm": (VOLUME, (1, 64, 64)),
    "MR_small_jp2klossless.dcm": (VOLUME, (1, 64, 64)),
    "MR_small_jpeg_ls_lossless.dcm": (VOLUME, (1, 64, 64)),
    "MR-SIEMENS-DICOM-WithOverlays.dcm": (VOLUME, (1, 484, 484)),
    "MR2_UNCR.dcm": (VOLUME, (1, 1024, 1024)),
    "emri_small.dcm": (IMAGES, (10, 64, 64)),
    "emri_small_RLE.dcm": (IMAGES, (10, 64, 64)),
    "emri_small_big_endian.dcm": (IMAGES, (10, 64, 64)),
    "emri_small_jpeg_ls_lossless.dcm": (IMAGES, (10, 64, 64)),
    # Radiographs in MONOCHROME1.
    "RG1_UNCR.dcm": (IMAGES, (1, 1955, 1841)),
    "RG3_J2KR.dcm": (IMAGES, (1, 1760, 1760)),
    # Ultrasound: grey, RGB, palette, loops.
    "US1_UNCR.dcm": (IMAGES, (1, 480, 640, 3)),
    "US1_J2KI.dcm": (IMAGES, (1, 480, 640, 3)),
    "examples_palette.dcm": (IMAGES, (1, 350, 800, 3)),
    "examples_jpeg2k.dcm": (IMAGES, (1, 480, 640, 3)),
    "examples_ybr_color.dcm": (IMAGES, (16, 240, 320, 3)),
    "color3d_jpeg_baseline.dcm": (IMAGES, (16, 480, 640, 3)),
    "OBXXXX1A_rle_2frame.dcm": (IMAGES, (2, 600, 800, 3)),
    "gdcm-US-ALOKA-16.dcm": (IMAGES, (1, 480, 640, 3)),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": (IMAGES, (1, 768, 1024)),
    # Nuclear medicine and secondary captures.
    "JPEG2000_UNC.dcm": (IMAGES, (1, 1024, 256)),
    "JPEGLSNearLossless_16.dcm": (IMAGES, (1, 50, 10)),
    "SC_rgb_jpeg_dcmtk.dcm": (IMAGES, (1, 100, 100, 3)),
    "SC_rgb_rle_16bit_2frame.dcm": (IMAGES, (2, 100, 100, 3)),
    "SC_rgb_rle_32bit.dcm": (IMAGES, (1, 100, 100, 3)),
    "SC_ybr_full_422_uncompressed.dcm": (IMAGES, (1, 100, 100, 3)),
    "mlut_18.dcm": (IMAGES, (1, 512, 512)),
}
"""Files of pydicom and of pydicom-data, and the shape of their only series."""

LOSSLESS_GREY = [
    "CT_small.dcm",
    "693_UNCR.dcm",
    "693_J2KR.dcm",
    "MR_small_RLE.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR2_UNCR.dcm",
    "JPGLosslessP14SV1_1s_1f_8b.dcm",
]
"""What ITK reads with decoders of its own and leaves in its own values."""


@pytest.fixture(scope="module")
def reader():
    with PixelReader(LimitSettings()) as shared:
        yield shared


def stored(path):
    header = read_header(path)
    return StoredInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        series_instance_uid=header.series_instance_uid,
        path=path,
        sha256="",
    )


def real_file(name):
    path = get_testdata_file(name, download=False)
    assert path is not None, f"{name} comes with pydicom-data"
    return Path(path)


def expected_frame(path, number):
    """Decode one frame with pydicom and turn it into what the node promises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files break rules on purpose
        ds = pydicom.dcmread(path)
        frame = pydicom.pixels.pixel_array(ds, index=number - 1)
        if ds.PhotometricInterpretation == "PALETTE COLOR":
            frame = apply_color_lut(frame, ds)
            return frame if frame.dtype == np.uint8 else frame >> 8
        if ds.SamplesPerPixel == 3:
            return frame >> max(0, ds.BitsStored - 8)
        source = ds
        for groups in (
            ds.get("SharedFunctionalGroupsSequence") or [],
            (ds.get("PerFrameFunctionalGroupsSequence") or [])[number - 1 : number],
        ):
            if groups and "PixelValueTransformationSequence" in groups[0]:
                (source,) = groups[0].PixelValueTransformationSequence
        values = apply_modality_lut(frame, source).astype(np.float32)
        if ds.PhotometricInterpretation == "MONOCHROME1":
            values = 2**ds.BitsStored - 1 - values
        if "PixelPaddingValue" in ds:
            outside = frame == ds.PixelPaddingValue
            values[outside] = values[~outside].min()
        return values


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_becomes_one_series_with_the_values_pydicom_reads(reader, name):
    path = real_file(name)
    is_volume, shape = FILES[name]

    (series,), left_out = find_series([stored(path)])
    pixels = reader.read(series)

    assert all("of a loop" in one.reason for one in left_out)
    assert series.is_volume is is_volume
    assert pixels.shape == shape
    for index in {0, len(series.frames) // 2, len(series.frames) - 1}:
        expected = expected_frame(path, series.frames[index].frame_number)
        np.testing.assert_array_equal(pixels[index], expected)


@pytest.mark.parametrize("name", LOSSLESS_GREY)
def test_itk_decodes_the_same_values(reader, name):
    path = real_file(name)
    (series,), _ = find_series([stored(path)])

    pixels = reader.read(series)

    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    if "PixelPaddingValue" in ds:
        outside = theirs == ds.PixelPaddingValue * ds.RescaleSlope + ds.RescaleIntercept
        theirs[outside] = theirs[~outside].min()
    np.testing.assert_array_equal(pixels, theirs.astype(np.float32))


def test_the_real_ct_without_uids_is_one_volume(reader):
    folder = fetch_totalsegmentator() / "example_ct_dicom"

    (series,), left_out = find_series([stored(path) for path in folder.iterdir()])
    pixels = reader.read(series)

    assert left_out == ()
    assert series.is_volume
    assert series.study_instance_uid.startswith("2.25.")
    assert series.series_instance_uid.startswith("2.25.")
    assert pixels.shape == (20, 512, 512)
    spacing = voxel_spacing_mm(series.affine_lps)
    np.testing.assert_allclose(spacing, (2, 0.9765625, 0.9765625))
    for index in (0, 7, 19):
        expected = expected_frame(series.frames[index].path, 1)
        np.testing.assert_array_equal(pixels[index], expected)


def test_folders_of_many_studies_hold_what_pydicoms_authors_put_there():
    root = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
    files = [path for path in sorted(root.rglob("[0-9]*")) if path.is_file()]
    instances = [stored(path) for path in files]

    series, left_out = find_series(instances)

    frames = sum(len(one.frames) for one in series)
    (scouts,) = left_out
    assert "2 of its instances" in scouts.reason
    assert "localizers" in scouts.reason
    assert frames + 2 == len(instances)
    chest = [one for one in series if len(one.frames) == 5]
    assert [one.is_volume for one in chest] == [True]
