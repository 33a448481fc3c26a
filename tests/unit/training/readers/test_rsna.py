from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_dicom,
    save_text,
)
from training.errors import DatasetError

HEADER = "patientId,x,y,width,height,Target\n"
A, B = "00000000-aaaa-bbbb-cccc-000000000001", "00000000-aaaa-bbbb-cccc-000000000002"


def write(root: Path, rows: str) -> Path:
    save_text(root / "stage_2_train_labels.csv", HEADER + rows)
    save_text(
        root / "stage_2_detailed_class_info.csv",
        f"patientId,class\n{A},Lung Opacity\n{B},Normal\n",
    )
    for name in (A, B):
        save_dicom(root / "stage_2_train_images" / f"{name}.dcm")
    return root


@pytest.mark.parametrize("nothing", ["", "NaN", "nan"])
def test_boxes_are_grouped_and_target_0_is_absent(tmp_path: Path, nothing: str) -> None:
    rows = (
        f"{A},264.0,152.0,213.0,379.0,1\n"
        f"{B},{nothing},{nothing},{nothing},{nothing},0\n"
        f"{A},562.0,152.0,256.0,453.0,1\n"
    )
    spec = registered("rsna-pneumonia")

    images = by_id(read_all(write(tmp_path, rows), spec))

    (region,) = images[A].regions
    assert region.boxes_xyxy == ((264, 152, 477, 531), (562, 152, 818, 605))
    assert spec.phrase_of(region.label) in (spec.label_space or ())
    assert images[B].regions == ()
    assert images[B].load().pixels.shape == (6, 8)


def test_what_is_called_patient_is_an_image(tmp_path: Path) -> None:
    spec = registered("rsna-pneumonia")
    (image,) = read_all(write(tmp_path, f"{A},,,,,0\n"), spec)

    assert image.patient_id is None
    assert spec.patient_unknown


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{A},NaN,NaN,NaN,NaN,1", "line 2: no x"),
        (f"{A},1,2,3,4,0", "line 2: Target is 0, and there is a box"),
        (f"{A},1,2,3,4,2", "line 2: Target is neither"),
        (f"{A},1,2,3,4,", "line 2: no Target"),
        (f"{A},1000,2,300,4,1", "line 2: a box reaches out"),
        ("c,1,2,3,4,1", r"line 2: the image c\.dcm is not there"),
    ],
)
def test_an_impossible_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(write(tmp_path, row + "\n"), registered("rsna-pneumonia"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    spec = registered("rsna-pneumonia", missing_images="skip")

    (image,) = read_all(write(tmp_path, f"c,1,2,3,4,1\n{A},,,,,0\n"), spec)

    assert image.image_id == A
