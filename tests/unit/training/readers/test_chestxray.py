from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_picture,
    save_text,
)
from training.errors import DatasetError

# Letter for letter: the header has one cell "Bbox [x,y,w,h]" spread over four.
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
BOXES = (
    "00000001_000.png,Nodule,225.08,547.02,86.78,79.19,,,\n"
    "00000001_000.png,Nodule,25.0,47.0,10.0,20.0,,,\n"
    "00000002_001.png,Infiltrate,100,200,50,60,,,\n"
)
ENTRIES = (
    "00000001_000.png,Effusion|Nodule,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
    "00000002_001.png,Infiltration,1,2,81,F,AP,2500,2048,0.168,0.168,\n"
    "00000003_000.png,No Finding,0,3,30,F,PA,2500,2048,0.168,0.168,\n"
    "00000004_000.png,Pleural_Thickening,0,4,30,F,PA,2500,2048,0.168,0.168,\n"
)


def write(root: Path, *, boxes: str = BOXES, entries: str = ENTRIES) -> Path:
    save_text(root / "BBox_List_2017.csv", BOX_HEADER + boxes)
    save_text(root / "Data_Entry_2017_v2020.csv", ENTRY_HEADER + entries)
    save_text(root / "train_val_list.txt", "00000003_000.png\n00000004_000.png\n")
    save_text(root / "test_list.txt", "00000001_000.png\n00000002_001.png\n")
    for number in ("00000001_000", "00000002_001", "00000003_000", "00000004_000"):
        save_picture(root / "images" / f"{number}.png")
    return root


def test_boxes_are_read_by_place_and_grouped_by_finding(tmp_path: Path) -> None:
    images = by_id(read_all(write(tmp_path), registered("nih-chestxray14")))

    assert list(images) == ["00000001_000", "00000002_001"]
    nodule, effusion = images["00000001_000"].regions
    assert nodule.label == "Nodule"
    assert nodule.boxes_xyxy[0] == pytest.approx((225.08, 547.02, 311.86, 626.21))
    assert nodule.boxes_xyxy[1] == (25, 47, 35, 67)
    assert not nodule.ignore
    # Named in the label list, drawn by nobody.
    assert effusion.label == "Effusion"
    assert effusion.ignore
    assert effusion.boxes_xyxy == ()


def test_infiltrate_is_infiltration(tmp_path: Path) -> None:
    images = by_id(read_all(write(tmp_path), registered("nih-chestxray14")))

    (region,) = images["00000002_001"].regions
    assert region.label == "Infiltration"
    assert not region.ignore


def test_patient_view_and_split_come_from_the_other_lists(tmp_path: Path) -> None:
    first, second = read_all(write(tmp_path), registered("nih-chestxray14"))

    assert (first.patient_id, first.view, first.split) == ("1", "PA", "test")
    assert (second.patient_id, second.view, second.split) == ("2", "AP", "test")
    assert first.load().pixels.shape == (6, 8)


def test_images_without_boxes_come_when_they_are_asked_for(tmp_path: Path) -> None:
    spec = registered("nih-chestxray14", images_without_boxes=True)

    images = by_id(read_all(write(tmp_path), spec))

    assert images["00000003_000"].regions == ()
    (thickening,) = images["00000004_000"].regions
    assert thickening.ignore
    assert spec.phrase_of(thickening.label) == "pleural thickening"
    assert images["00000004_000"].split == "train"


def test_every_label_means_a_phrase_that_was_looked_for() -> None:
    spec = registered("nih-chestxray14")

    assert set(spec.label_space or ()) == set(spec.label_map.values())


def test_archives_may_be_unpacked_side_by_side(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "images").rename(root / "images_001")
    (root / "images_001").rename(root / "x")
    (root / "images_001").mkdir()
    (root / "x").rename(root / "images_001" / "images")

    images = read_all(root, registered("nih-chestxray14"))

    assert [image.load().pixels.shape for image in images] == [(6, 8), (6, 8)]


def test_without_split_lists_no_split_is_claimed(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "test_list.txt").unlink()

    assert read_all(root, registered("nih-chestxray14"))[0].split is None


@pytest.mark.parametrize(
    ("boxes", "entries", "message"),
    [
        ("a.png,Nodule,1,2,3\n", ENTRIES, r"BBox_List_2017\.csv, line 2: no cell 6"),
        ("a.png,Nodule,1,2,x,4\n", ENTRIES, "line 2: cell 5 is not a number"),
        ("a.png,,1,2,3,4\n", ENTRIES, "line 2: no cell 2"),
        ("a.png,Nodule,1000,2,80,4\n", ENTRIES, "line 2: a box reaches out"),
        ("a.png,Nodule,1,2,3,4\n", ENTRIES, "1 images are not in Data_Entry"),
        (BOXES, "00000001_000.png,Nodule,0,,58,M,PA\n", "line 2: no Patient ID"),
    ],
)
def test_an_impossible_row_is_named(
    tmp_path: Path, boxes: str, entries: str, message: str
) -> None:
    root = write(tmp_path, boxes=boxes, entries=entries)

    with pytest.raises(DatasetError, match=message):
        read_all(root, registered("nih-chestxray14"))


def test_a_boxed_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "images" / "00000001_000.png").unlink()

    with pytest.raises(DatasetError, match=r"line 2: the image 00000001_000\.png"):
        read_all(root, registered("nih-chestxray14"))
    lenient = registered("nih-chestxray14", missing_images="skip")
    assert len(read_all(root, lenient)) == 1
