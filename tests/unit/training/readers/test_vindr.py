from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_dicom,
    save_text,
)
from training.errors import DatasetError

KAGGLE = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
PHYSIONET = "image_id,rad_ID,class_name,x_min,y_min,x_max,y_max\n"
TEST_SET = "image_id,class_name,x_min,y_min,x_max,y_max\n"
A, B = "0" * 31 + "1", "0" * 31 + "2"


def write_kaggle(root: Path, rows: str) -> Path:
    save_text(root / "train.csv", KAGGLE + rows)
    for name in (A, B):
        save_dicom(root / "train" / f"{name}.dicom")
    return root


def test_readers_are_kept_apart(tmp_path: Path) -> None:
    rows = (
        f"{A},Cardiomegaly,3,R8,691.0,1375.0,1653.0,1831.0\n"
        f"{B},No finding,14,R1,,,,\n"
        f"{A},Cardiomegaly,3,R9,700.0,1370.0,1650.0,1830.0\n"
        f"{A},Nodule/Mass,8,R8,1,2,3,4\n"
        f"{A},Nodule/Mass,8,R8,5,6,7,8\n"
    )
    spec = registered("vindr-cxr-kaggle")

    images = by_id(read_all(write_kaggle(tmp_path, rows), spec))

    drawn = {(r.label, r.reader): r.boxes_xyxy for r in images[A].regions}
    assert drawn == {
        ("Cardiomegaly", "R8"): ((691, 1375, 1653, 1831),),
        ("Cardiomegaly", "R9"): ((700, 1370, 1650, 1830),),
        ("Nodule/Mass", "R8"): ((1, 2, 3, 4), (5, 6, 7, 8)),
        ("Nodule/Mass", "R9"): (),
    }
    assert [r.status for r in images[A].regions] == ["present"] * 3 + ["absent"]
    assert images[A].patient_id is None
    assert spec.patient_unknown
    assert images[A].split == "train"


def test_an_image_without_findings_has_no_region(tmp_path: Path) -> None:
    rows = "".join(f"{B},No finding,14,R{n},,,,\n" for n in range(3))
    spec = registered("vindr-cxr-kaggle")

    (image,) = read_all(write_kaggle(tmp_path, rows), spec)

    # What is in the label space and has no region is absent.
    assert image.regions == ()
    assert image.label_space is None
    assert spec.label_space is not None
    assert "pneumothorax" in spec.label_space


def test_a_reader_who_sees_nothing_denies_what_another_drew(tmp_path: Path) -> None:
    rows = f"{A},No finding,14,R1,NaN,NaN,NaN,NaN\n{A},ILD,5,R2,1,2,3,4\n"

    (image,) = read_all(write_kaggle(tmp_path, rows), registered("vindr-cxr-kaggle"))

    said = [(r.label, r.reader, r.status, len(r.boxes_xyxy)) for r in image.regions]
    assert said == [("ILD", "R1", "absent", 0), ("ILD", "R2", "present", 1)]


def test_a_label_that_says_nothing_is_ignored(tmp_path: Path) -> None:
    rows = f"{A},Other lesion,9,R2,1,2,3,4\n"

    (image,) = read_all(write_kaggle(tmp_path, rows), registered("vindr-cxr-kaggle"))

    assert image.regions[0].ignore


def test_physionet_spells_its_columns_otherwise(tmp_path: Path) -> None:
    save_text(
        tmp_path / "annotations" / "annotations_train.csv",
        PHYSIONET + f"{A},R8,Rib fracture,1,2,3,4\n",
    )
    save_text(
        tmp_path / "annotations" / "annotations_test.csv",
        TEST_SET + f"{B},Edema,1,2,3,4\n{B},No finding,,,,\n",
    )
    save_dicom(tmp_path / "train" / f"{A}.dicom")
    save_dicom(tmp_path / "test" / f"{B}.dicom")
    spec = registered("vindr-cxr")

    first, second = read_all(tmp_path, spec)

    assert first.regions[0].reader == "R8"
    assert (first.split, second.split) == ("train", "test")
    # Five readers agreed on one answer.
    assert second.regions[0].reader is None
    assert spec.phrase_of(second.regions[0].label) == "pulmonary edema"


def test_dark_images_are_turned(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8)
    root = write_kaggle(tmp_path, f"{A},ILD,5,R2,1,2,3,4\n")
    save_dicom(
        root / "train" / f"{A}.dicom", pixels, photometric="MONOCHROME1", bits_stored=12
    )

    (image,) = read_all(root, registered("vindr-cxr-kaggle"))

    assert np.array_equal(image.load().pixels, 4095.0 - pixels)


@pytest.mark.parametrize("name", ["vindr-cxr", "vindr-cxr-kaggle"])
def test_what_was_looked_for_are_phrases_of_the_labels(name: str) -> None:
    spec = registered(name)

    assert set(spec.label_space or ()) <= set(spec.label_map.values())
    assert len(spec.label_space or ()) == {"vindr-cxr": 21}.get(name, 13)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{A},No finding,14,R1,1,2,3,4", r"train\.csv, line 2: No finding has a box"),
        (f"{A},ILD,5,R2,,,,", "line 2: no x_min"),
        (f"{A},ILD,5,R2,3,2,1,4", "line 2: a box is empty or inside out"),
        (f"{A},ILD,5,,1,2,3,4", "line 2: no rad_id"),
        (",ILD,5,R2,1,2,3,4", "line 2: no image_id"),
        ("f" * 32 + ",ILD,5,R2,1,2,3,4", "line 2: the image f+.dicom is not there"),
    ],
)
def test_an_impossible_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(write_kaggle(tmp_path, row + "\n"), registered("vindr-cxr-kaggle"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    rows = f"{A},ILD,5,R2,1,2,3,4\n{'f' * 32},ILD,5,R2,1,2,3,4\n"
    spec = registered("vindr-cxr-kaggle", missing_images="skip")

    (image,) = read_all(write_kaggle(tmp_path, rows), spec)

    assert image.image_id == A
