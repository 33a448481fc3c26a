"""DeepLesion's key slices come out in Hounsfield units, with all their boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders.volume_files import make_spec
from training.errors import DatasetError
from training.readers import find_reader

HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,"
    "Measurement_coordinates,Bounding_boxes,Lesion_diameters_Pixel_,"
    "Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,"
    "Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,Patient_age,"
    "Train_Val_Test\n"
)
SPEC = make_spec("deeplesion")
HU = np.random.default_rng(0).integers(-1024, 1500, (64, 64))


def line(
    name: str,
    box: str,
    *,
    kind: int = 5,
    noisy: int = 0,
    split: int = 1,
    spacing: str = "0.5, 0.6, 5",
) -> str:
    return (
        f'{name},1,2,3,109,"3.5, 5.0, 4.5, 8.0",'
        f'"{box}","5.1, 3.2","0.2, 0.3, 0.4",{kind},{noisy},"103, 115",'
        f'"{spacing}","64, 64","-175, 275",F,62,{split}\n'
    )


def make_dataset(root: Path, *lines: str) -> None:
    (root / "DL_info.csv").write_text(HEADER + "".join(lines))
    for name in {one.split(",")[0] for one in lines}:
        folder, _, file = name.rpartition("_")
        (root / "Images_png" / folder).mkdir(parents=True, exist_ok=True)
        stored = Image.fromarray((HU + 32768).astype(np.uint16))
        stored.save(root / "Images_png" / folder / file)


def test_pixels_are_hounsfield_units(tmp_path: Path) -> None:
    make_dataset(tmp_path, line("000001_01_01_109.png", "26.2, 30.2, 41.5, 43.0"))

    (image,) = find_reader("deeplesion")(tmp_path, SPEC)

    picture = image.load()
    np.testing.assert_array_equal(picture.pixels, HU)
    assert picture.spacing_mm == (0.0, 0.6, 0.5)
    assert not picture.is_volume
    assert (image.image_id, image.patient_id) == ("000001_01_01_109", "1")
    assert image.study_id == "1_2"


def test_lesions_of_a_slice_come_together_and_say_nothing_of_others(
    tmp_path: Path,
) -> None:
    make_dataset(
        tmp_path,
        line("000001_01_01_109.png", "26.2, 30.2, 41.5, 43.0", kind=-1),
        line("000002_01_01_009.png", "1, 2, 3, 4", split=3, noisy=1),
        line("000001_01_01_109.png", "1.0, 2.0, 9.5, 8.0", kind=4),
    )

    first, second = find_reader("deeplesion")(tmp_path, SPEC)

    assert [(one.label, one.boxes_xyxy) for one in first.regions] == [
        ("lesion", ((26.2, 30.2, 41.5, 43.0),)),
        ("liver lesion", ((1.0, 2.0, 9.5, 8.0),)),
    ]
    assert not any(one.complete for one in first.regions)
    assert first.label_space is None
    assert (first.split, second.split) == ("train", "test")
    assert [one.ignore for one in (*first.regions, *second.regions)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line("a_1_1_1.png", "1, 2, 3"), "line 2: Bounding_boxes"),
        (line("a_1_1_1.png", "5, 2, 3, 4"), "line 2: a box is empty"),
        (line("a_1_1_1.png", "5, 2, 300, 4"), "line 2: a box reaches out"),
        (line("a_1_1_1.png", "a, 2, 3, 4"), "line 2: Bounding_boxes"),
        (line("a_1_1_1.png", "1, 2, 3, 4", kind=9), "line 2: Coarse_lesion_type"),
        (line("a_1_1_1.png", "1, 2, 3, 4", split=7), "line 2: Train_Val_Test"),
        (line("a_1_1_1.png", "1, 2, 3, 4", spacing="0, 1, 1"), "line 2: Spacing"),
    ],
)
def test_impossible_lines_are_named(bad: str, message: str, tmp_path: Path) -> None:
    make_dataset(tmp_path, bad)

    with pytest.raises(DatasetError, match=rf"DL_info\.csv, {message}"):
        list(find_reader("deeplesion")(tmp_path, SPEC))


def test_missing_slices_are_an_error_unless_said(tmp_path: Path) -> None:
    make_dataset(tmp_path, line("a_1_1_1.png", "1, 2, 3, 4"))
    (tmp_path / "Images_png" / "a_1_1" / "1.png").unlink()
    part = make_spec("deeplesion", layout={"missing_images": "skip"})

    with pytest.raises(DatasetError, match=r"DL_info\.csv, line 2.*1\.png"):
        list(find_reader("deeplesion")(tmp_path, SPEC))
    assert list(find_reader("deeplesion")(tmp_path, part)) == []


def test_eight_bit_copies_are_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path, line("a_1_1_1.png", "1, 2, 3, 4"))
    (image,) = find_reader("deeplesion")(tmp_path, SPEC)
    shallow = Image.fromarray(np.zeros((64, 64), np.uint8))
    shallow.save(tmp_path / "Images_png" / "a_1_1" / "1.png")

    with pytest.raises(DatasetError, match=r"a_1_1/1\.png: is not a 16-bit picture"):
        image.load()
