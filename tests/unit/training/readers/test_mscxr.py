from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_dicom,
    save_json,
    save_picture,
    save_text,
)
from training.errors import DatasetError

HEADER = (
    "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,split\n"
)
ONE = "files/p10/p10000001/s50000001/aaaa1111-0000.jpg"
TWO = "files/p10/p10000002/s50000002/bbbb2222-0000.jpg"
ROWS = (
    f"aaaa1111-0000,Pleural Effusion,bilateral effusions,{ONE},10,20,5,6,100,80,train\n"
    f"bbbb2222-0000,Pneumothorax,right apical pneumothorax,{TWO},1,2,3,4,50,60,test\n"
    f"aaaa1111-0000,Pleural Effusion,bilateral effusions,{ONE},60,20,5,6,100,80,train\n"
    f"aaaa1111-0000,Edema,mild edema,{ONE},0,0,100,80,100,80,train\n"
)


def write(root: Path, rows: str = ROWS) -> Path:
    save_text(root / "MS_CXR_Local_Alignment_v1.1.0.csv", HEADER + rows)
    save_picture(root / ONE, np.full((80, 100), 7, np.uint8))
    save_picture(root / TWO, np.full((60, 50), 9, np.uint8))
    return root


def test_boxes_of_one_sentence_are_one_region(tmp_path: Path) -> None:
    images = by_id(read_all(write(tmp_path), registered("ms-cxr")))

    effusion, edema = images["aaaa1111-0000"].regions
    assert effusion.phrase == "bilateral effusions"
    assert effusion.label == "Pleural Effusion"
    assert effusion.boxes_xyxy == ((10, 20, 15, 26), (60, 20, 65, 26))
    assert edema.boxes_xyxy == ((0, 0, 100, 80),)
    assert registered("ms-cxr").phrase_of(edema.label) == "pulmonary edema"


def test_patient_study_and_split_are_kept(tmp_path: Path) -> None:
    images = read_all(write(tmp_path), registered("ms-cxr"))

    assert [image.image_id for image in images] == ["aaaa1111-0000", "bbbb2222-0000"]
    first, second = images
    assert (first.patient_id, first.study_id) == ("10000001", "50000001")
    assert (first.split, second.split) == ("train", "test")
    assert first.label_space is None
    assert first.modality == "DX"
    assert second.load().pixels.shape == (60, 50)


def test_a_sentence_of_two_findings_has_its_boxes_once(tmp_path: Path) -> None:
    rows = "".join(
        f"aaaa1111-0000,{name},opacity may be pneumonia,{ONE},1,2,3,4,100,80,train\n"
        for name in ("Lung Opacity", "Pneumonia")
    )
    (image,) = read_all(write(tmp_path, rows), registered("ms-cxr"))

    (region,) = image.regions
    assert region.label == "Lung Opacity"
    assert region.attributes == {"also": "Pneumonia"}
    assert region.boxes_xyxy == ((1, 2, 4, 6),)


def test_the_json_of_the_release_says_the_same_as_its_table(tmp_path: Path) -> None:
    root = write(tmp_path)
    images, annotations, categories = [], [], ["Pleural Effusion", "Pneumothorax"]
    categories.append("Edema")
    lines = [line.split(",") for line in ROWS.splitlines()]
    for index, (dicom_id, category, text, path, *rest) in enumerate(lines):
        x, y, w, h, width, height, split = rest
        if not any(image["path"] == path for image in images):
            images.append(
                {
                    "id": len(images),
                    "path": path,
                    "file_name": f"{dicom_id}.jpg",
                    "width": int(width),
                    "height": int(height),
                    "split": split,
                }
            )
        annotations.append(
            {
                "id": index,
                "image_id": [image["path"] for image in images].index(path),
                "category_id": categories.index(category),
                "bbox": [int(x), int(y), int(w), int(h)],
                "width": int(width),
                "height": int(height),
                "label_text": text,
            }
        )
    tree = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories)],
    }
    save_json(root / "MS_CXR_Local_Alignment_v1.1.0.json", tree)

    table = read_all(root, registered("ms-cxr"))
    spec = registered("ms-cxr", annotations="MS_CXR_Local_Alignment_v1.1.0.json")
    other = read_all(root, spec)

    def told(image: object) -> list[tuple[object, ...]]:
        return [(r.label, r.phrase, r.boxes_xyxy) for r in image.regions]  # type: ignore[attr-defined]

    assert [image.image_id for image in other] == [image.image_id for image in table]
    assert [told(image) for image in other] == [told(image) for image in table]
    assert [image.split for image in other] == ["train", "test"]


def test_the_dicom_release_of_the_images_can_be_named(tmp_path: Path) -> None:
    root = write(tmp_path, ROWS.splitlines(keepends=True)[1])
    save_dicom(root / "mimic" / Path(TWO).with_suffix(".dcm"))

    (image,) = read_all(root, registered("ms-cxr", images="mimic", suffix=".dcm"))

    assert image.load().pixels.shape == (6, 8)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"a,Edema,edema,{ONE},1,2,three,4,100,80,train", "line 2: w is not a number"),
        (f"a,Edema,edema,{ONE},1,2,,4,100,80,train", "line 2: no w"),
        (f"a,Edema,edema,{ONE},1,2,-3,4,100,80,train", "line 2: a box is empty"),
        (f"a,Edema,edema,{ONE},90,2,30,4,100,80,train", "line 2: a box reaches out"),
        (f"a,Edema,,{ONE},1,2,3,4,100,80,train", "line 2: no label_text"),
        (f"a,Edema,edema,{ONE},1,2,3,4,100,80,holdout", "line 2: no split"),
        ("a,Edema,edema,files/none.jpg,1,2,3,4,100,80,train", "line 2: the image none"),
    ],
)
def test_an_impossible_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(write(tmp_path, row + "\n"), registered("ms-cxr"))


def test_a_table_of_another_dataset_is_refused(tmp_path: Path) -> None:
    save_text(tmp_path / "MS_CXR_Local_Alignment_v1.1.0.csv", "a,b\n1,2\n")

    with pytest.raises(DatasetError, match="line 1: no column dicom_id"):
        read_all(tmp_path, registered("ms-cxr"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / ONE).unlink()

    (image,) = read_all(root, registered("ms-cxr", missing_images="skip"))

    assert image.image_id == "bbbb2222-0000"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, r"annotations\[0\]: its image or category"),
        ({"category_id": 9}, r"annotations\[0\]: its image or category"),
        ({"bbox": [1, 2, 3]}, r"annotations\[0\]\.bbox: not 4 numbers"),
        ({"bbox": [1, 2, 0, 3]}, r"annotations\[0\]\.bbox: a box is empty"),
        ({"label_text": ""}, r"annotations\[0\]\.label_text: not a text"),
    ],
)
def test_an_impossible_annotation_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [1, 2, 3, 4],
        "label_text": "edema",
        **change,
    }
    image = {"id": 1, "path": ONE, "width": 100, "height": 80}
    tree = {
        "images": [image],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "Edema"}],
    }
    save_json(tmp_path / "a.json", tree)

    with pytest.raises(DatasetError, match=message):
        read_all(tmp_path, registered("ms-cxr", annotations="a.json"))
