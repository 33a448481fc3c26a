from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from dicom_node.imaging.decode import decode_frames
from tests.builders.picture_files import blob, save_dicom, save_picture
from tests.builders.pixel_images import make_image
from training.errors import DatasetError
from training.readers.images import (
    image_size,
    load_mask,
    load_picture,
    mask_loader,
    picture_loader,
)

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
DEEP = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1_300
COLOUR = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_lossless_picture_comes_back_as_it_was(
    tmp_path: Path, suffix: str, pixels: npt.NDArray[Any]
) -> None:
    path = save_picture(tmp_path / f"a{suffix}", pixels)

    picture = load_picture(path)

    assert np.array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype == np.uint8
    assert picture.spacing_mm is None
    assert not picture.is_volume
    assert image_size(path) == (6, 8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    path = save_picture(tmp_path / f"a{suffix}", DEEP)

    picture = load_picture(path)

    assert np.array_equal(picture.pixels, DEEP)
    assert picture.pixels.dtype.isnative


def test_a_big_endian_picture_is_read_into_native_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.frombytes("I;16B", (8, 6), DEEP.astype(">u2").tobytes()).save(path)

    picture = load_picture(path)

    assert np.array_equal(picture.pixels, DEEP)
    assert picture.pixels.dtype.isnative


def test_a_jpeg_is_read_up_to_its_loss(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a.jpg", GREY, quality=100)

    assert np.abs(load_picture(path).pixels.astype(int) - GREY).max() <= 2


def test_three_equal_channels_are_one(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a.png", np.repeat(GREY[..., None], 3, axis=2))

    assert np.array_equal(load_picture(path).pixels, GREY)


def test_transparency_palettes_and_bits_are_resolved(tmp_path: Path) -> None:
    opaque = np.full((6, 8, 1), 200, np.uint8)
    veiled = save_picture(tmp_path / "a.png", np.concatenate([COLOUR, opaque], axis=2))
    Image.fromarray(COLOUR).quantize(48).save(tmp_path / "b.png")
    Image.fromarray(GREY > 20).save(tmp_path / "c.png")
    Image.fromarray(GREY).convert("LA").save(tmp_path / "d.png")

    assert np.array_equal(load_picture(veiled).pixels, COLOUR)
    assert load_picture(tmp_path / "b.png").pixels.shape == (6, 8, 3)
    assert np.array_equal(load_picture(tmp_path / "c.png").pixels, (GREY > 20) * 255)
    assert np.array_equal(load_picture(tmp_path / "d.png").pixels, GREY)


def test_the_orientation_mark_of_a_camera_is_not_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save_picture(tmp_path / "a.jpg", GREY, quality=100, exif=exif)

    assert load_picture(path).pixels.shape == (6, 8)
    assert image_size(path) == (6, 8)


@pytest.mark.parametrize("suffix", [".png", ".dcm"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"not a picture, not even nearly one")

    for ask in (load_picture, image_size):
        with pytest.raises(DatasetError, match=rf"a\{suffix} cannot be read"):
            ask(path)
    with pytest.raises(DatasetError, match=rf"b\{suffix} is not there"):
        load_picture(tmp_path / f"b{suffix}")


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a.png", DEEP)
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(DatasetError, match=r"a\.png cannot be read"):
        load_picture(path)


def test_loaders_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a.png", GREY)

    picture = pickle.loads(pickle.dumps(picture_loader(path)))()
    mask = pickle.loads(pickle.dumps(mask_loader(path, between=(40, 99))))()

    assert np.array_equal(picture.pixels, GREY)
    assert np.array_equal(mask, GREY >= 40)


def test_dicom_comes_in_modality_units_with_its_spacing(tmp_path: Path) -> None:
    path = save_dicom(
        tmp_path / "a.dcm",
        DEEP,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        PixelSpacing=[0.5, 0.25],
        ImagerPixelSpacing=[0.6, 0.3],
    )

    picture = load_picture(path)

    assert np.array_equal(picture.pixels, DEEP * 2.0 - 1024)
    assert picture.spacing_mm == (0.0, 0.5, 0.25)
    assert image_size(path) == (6, 8)


def test_the_detectors_spacing_stands_in_and_nonsense_does_not(tmp_path: Path) -> None:
    detector = save_dicom(tmp_path / "a.dicom", ImagerPixelSpacing=[0.14, 0.15])
    nonsense = save_dicom(tmp_path / "b.dicom", PixelSpacing=[0, 1])

    assert load_picture(detector).spacing_mm == (0.0, 0.14, 0.15)
    assert load_picture(nonsense).spacing_mm is None


def test_monochrome1_is_turned_to_the_sense_of_monochrome2(tmp_path: Path) -> None:
    small = DEEP // 64
    path = save_dicom(
        tmp_path / "a.dcm", small, photometric="MONOCHROME1", bits_stored=12
    )

    assert np.array_equal(load_picture(path).pixels, 4095.0 - small)


def test_the_node_sees_the_same_pixels(tmp_path: Path) -> None:
    options: dict[str, Any] = {"photometric": "MONOCHROME1", "RescaleIntercept": -3}
    options["RescaleSlope"] = 3
    path = save_dicom(tmp_path / "a.dcm", DEEP, **options)

    (frame,) = decode_frames(make_image(DEEP, **options), [1])

    assert np.array_equal(load_picture(path).pixels, frame)


def test_a_window_is_applied_only_when_it_is_asked_for(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", DEEP, WindowCenter=20_000, WindowWidth=10_000)

    plain, shown = load_picture(path).pixels, load_picture(path, voi=True).pixels

    assert np.array_equal(plain, DEEP)
    # Below and above the window a picture is flat (PS3.3 C.11.2.1.2.1).
    assert shown[DEEP <= 15_000].max() == shown.min()
    assert shown[DEEP > 25_000].min() == shown.max()
    inside = (DEEP > 16_000) & (DEEP < 24_000)
    assert (np.diff(shown[inside]) > 0).all()


def test_a_windowed_monochrome1_image_is_turned_too(tmp_path: Path) -> None:
    window = {"WindowCenter": 30_000, "WindowWidth": 60_000}
    plain = save_dicom(tmp_path / "a.dcm", DEEP, **window)
    mirrored = save_dicom(tmp_path / "b.dcm", DEEP, photometric="MONOCHROME1", **window)

    bright = load_picture(plain, voi=True).pixels
    dark = load_picture(mirrored, voi=True).pixels

    assert dark == pytest.approx(bright.min() + bright.max() - bright, abs=0.01)
    assert dark[0, 0] > dark[-1, -1]


def test_colour_dicom_is_rgb(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", COLOUR, photometric="RGB")

    assert np.array_equal(load_picture(path, voi=True).pixels, COLOUR)


def test_a_real_compressed_radiograph_is_read() -> None:
    path = Path(str(get_testdata_file("RG1_J2KR.dcm")))

    picture = load_picture(path)

    assert picture.pixels.shape == image_size(path) == (1955, 1841)
    assert picture.pixels.dtype == np.float32


def test_a_mask_is_what_lies_between_two_levels(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a.bmp", GREY)

    assert np.array_equal(load_mask(path), GREY >= 1)
    assert np.array_equal(load_mask(path, between=(3, 5)), (GREY >= 3) & (GREY <= 5))


def test_a_colour_mask_counts_by_its_brightest_channel(tmp_path: Path) -> None:
    red = np.zeros((6, 8, 4), np.uint8)
    red[..., 3] = 255
    red[1:3, 2:4, 0] = 76
    path = save_picture(tmp_path / "a.tif", red)

    mask = load_mask(path)

    assert np.array_equal(mask, blob(slice(1, 3), slice(2, 4)) > 0)


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    image = save_picture(tmp_path / "a.png", GREY)
    mask = save_picture(tmp_path / "b.png", GREY.T.copy())

    with pytest.raises(DatasetError, match=r"b\.png is 8 x 6, its image 6 x 8"):
        load_mask(mask, image=image)
