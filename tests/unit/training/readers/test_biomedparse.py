from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.picture_files import (
    blob,
    by_id,
    read_all,
    registered,
    save_json,
    save_picture,
)
from training.errors import DatasetError

TUMOUR = blob(slice(1, 3), slice(2, 5))


def sentence(text: str, number: int = 0) -> dict[str, object]:
    return {"raw": text, "sent": text, "sent_id": number}


def annotation(**values: object) -> dict[str, Any]:
    return {
        "mask_file": "demo1_CT_abdomen_liver+tumor.png",
        "file_name": "demo1_CT_abdomen.png",
        "image_id": 0,
        "category_id": 12,
        "id": 0,
        "ref_id": 0,
        "ann_id": 0,
        "sent_ids": [0],
        "sentences": [sentence("liver tumor in abdomen CT")],
        "split": "train",
        **values,
    }


def write(root: Path, *annotations: object, part: str = "train") -> Path:
    images = [
        {"id": 0, "file_name": "demo1_CT_abdomen.png", "height": 6, "width": 8},
        {"id": 1, "file_name": "case_7_MRI-FLAIR_brain.png", "height": 6, "width": 8},
    ]
    tree = {"images": images, "annotations": list(annotations), "categories": []}
    save_json(root / f"{part}.json", tree)
    for image in images:
        save_picture(root / part / str(image["file_name"]))
    save_picture(root / f"{part}_mask" / "demo1_CT_abdomen_liver+tumor.png", TUMOUR)
    return root


def test_names_say_modality_site_and_target(tmp_path: Path) -> None:
    root = write(tmp_path / "demo", annotation())

    images = by_id(read_all(root, registered("biomedparse")))

    image = images["demo/train/demo1_CT_abdomen"]
    assert (image.modality, image.body_part) == ("CT", "abdomen")
    (region,) = image.regions
    # A plus stands for a space.
    assert region.label == "liver tumor"
    assert region.phrase == "liver tumor in abdomen CT"
    assert region.mask is not None
    assert np.array_equal(region.mask(), TUMOUR > 0)
    brain = images["demo/train/case_7_MRI-FLAIR_brain"]
    assert (brain.modality, brain.body_part, brain.regions) == ("MR", "brain", ())


def test_every_sentence_is_a_region_of_the_same_mask(tmp_path: Path) -> None:
    sentences = [sentence("liver tumor"), sentence("hepatic mass", 1)]
    sentences.append(sentence("liver tumor", 2))
    root = write(tmp_path, annotation(sentences=sentences))

    regions = read_all(root, registered("biomedparse"))[0].regions

    assert [region.phrase for region in regions] == ["liver tumor", "hepatic mass"]
    assert {region.label for region in regions} == {"liver tumor"}


def test_a_mask_without_sentences_keeps_its_target(tmp_path: Path) -> None:
    root = write(tmp_path, annotation(sentences=[]))

    (region,) = read_all(root, registered("biomedparse"))[0].regions

    assert (region.label, region.phrase) == ("liver tumor", None)


def test_many_datasets_and_both_parts_are_found(tmp_path: Path) -> None:
    write(tmp_path / "one", annotation())
    write(tmp_path / "one", annotation(), part="test")
    write(tmp_path / "two", annotation())

    images = read_all(tmp_path, registered("biomedparse"))

    assert [(image.image_id[:9], image.split) for image in images[::2]] == [
        ("one/test/", "test"),
        ("one/train", "train"),
        ("two/train", "train"),
    ]
    assert {image.patient_id for image in images} == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_file": "other_CT_abdomen_liver.png"}, r"annotations\[0\]: the name"),
        ({"mask_file": None}, r"annotations\[0\]: no mask_file"),
        ({"image_id": 5}, "1 annotated images are not listed"),
        ({"sentences": [{}]}, r"annotations\[0\]\.sentences\[0\]: no sent"),
    ],
)
def test_an_impossible_annotation_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(write(tmp_path, annotation(**change)), registered("biomedparse"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nothing.png",
            r"images\[0\]: its name is not \[IMAGE\]_",
        ),
        ("demo_sonar_liver.png", r"images\[0\]: the modality in its name"),
    ],
)
def test_a_name_that_says_too_little_is_refused(
    tmp_path: Path, name: str, message: str
) -> None:
    save_json(tmp_path / "train.json", {"images": [{"id": 0, "file_name": name}]})
    save_picture(tmp_path / "train" / name)

    with pytest.raises(DatasetError, match=message):
        read_all(tmp_path, registered("biomedparse"))


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no train\.json here or one below"):
        read_all(tmp_path, registered("biomedparse"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, annotation())
    (root / "train" / "demo1_CT_abdomen.png").unlink()

    (image,) = read_all(root, registered("biomedparse", missing_images="skip"))

    assert image.image_id.endswith("train/case_7_MRI-FLAIR_brain")
