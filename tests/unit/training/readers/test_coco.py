from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_json,
    save_picture,
    spec_of,
)
from training.errors import DatasetError
from training.rle import encode_rle

CROWD = np.zeros((6, 8), bool)
CROWD[0:2, 5:8] = True
TREE: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "height": 6, "width": 8},
        {"id": 9, "file_name": "b.jpg", "height": 6, "width": 8},
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 18,
            "bbox": [1, 2, 3, 2],
            "segmentation": [[1, 2, 4, 2, 4, 4, 1, 4]],
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 18,
            "bbox": [5, 4, 2, 2],
            "segmentation": [[5, 4, 7, 4, 7, 6, 5, 6]],
            "iscrowd": 0,
        },
        {
            "id": 3,
            "image_id": 7,
            "category_id": 18,
            "bbox": [5, 0, 3, 2],
            "segmentation": {"size": [6, 8], "counts": [30, 2, 4, 2, 4, 2, 4]},
            "iscrowd": 1,
        },
        {
            "id": 4,
            "image_id": 7,
            "category_id": 90,
            "bbox": [1, 1, 0, 3],
            "segmentation": [],
            "iscrowd": 0,
        },
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}],
}


def write(root: Path, tree: dict[str, Any] = TREE) -> Path:
    for part in ("train", "val"):
        save_json(root / "annotations" / f"instances_{part}2017.json", tree)
        for name in ("a.jpg", "b.jpg"):
            save_picture(root / f"{part}2017" / name)
    return root


def one_part() -> Any:
    part = {"annotations": "annotations/instances_train2017.json", "images": "."}
    return registered("coco-2017", parts=[{**part, "images": "train2017"}])


def changed(index: int, **values: object) -> dict[str, Any]:
    annotations = [dict(annotation) for annotation in TREE["annotations"]]
    annotations[index].update(values)
    return {**TREE, "annotations": annotations}


def test_each_instance_is_a_region(tmp_path: Path) -> None:
    images = by_id(read_all(write(tmp_path), one_part()))

    one, other = images["a"].regions[:2]
    assert [(dog.label, dog.ignore) for dog in (one, other)] == [("dog", False)] * 2
    assert (one.boxes_xyxy, other.boxes_xyxy) == (((1, 2, 4, 4),), ((5, 4, 7, 6),))
    assert one.mask is not None
    wanted = np.zeros((6, 8), bool)
    wanted[2:4, 1:4] = True
    assert np.array_equal(one.mask(), wanted)


def test_a_crowd_is_ignored_and_its_runs_go_down_the_columns(tmp_path: Path) -> None:
    segmentation = TREE["annotations"][2]["segmentation"]
    independent = coco.decode(coco.frPyObjects(segmentation, 6, 8)).astype(bool)

    crowd = by_id(read_all(write(tmp_path), one_part()))["a"].regions[2]

    assert (crowd.label, crowd.ignore) == ("dog", True)
    assert crowd.mask is not None
    assert np.array_equal(crowd.mask(), CROWD)
    assert np.array_equal(independent, CROWD)


def test_compressed_run_lengths_are_read_too(tmp_path: Path) -> None:
    packed = {"size": [6, 8], "counts": encode_rle(CROWD).counts}
    root = write(tmp_path, changed(2, segmentation=packed))

    crowd = by_id(read_all(root, one_part()))["a"].regions[2]

    assert crowd.mask is not None
    assert np.array_equal(crowd.mask(), CROWD)


def test_a_box_without_area_is_ignored(tmp_path: Path) -> None:
    brush = by_id(read_all(write(tmp_path), one_part()))["a"].regions[3]

    assert (brush.label, brush.ignore, brush.boxes_xyxy) == ("toothbrush", True, ())


def test_an_image_without_instances_lacks_every_category(tmp_path: Path) -> None:
    image = by_id(read_all(write(tmp_path), one_part()))["b"]

    assert image.regions == ()
    assert image.label_space == ("dog", "toothbrush")


def test_what_is_not_exhaustive_claims_no_absence(tmp_path: Path) -> None:
    spec = one_part()
    spec = spec.model_copy(update={"layout": {**spec.layout, "exhaustive": False}})

    assert read_all(write(tmp_path), spec)[0].label_space is None


def test_parts_have_their_splits(tmp_path: Path) -> None:
    images = read_all(write(tmp_path), registered("coco-2017"))

    assert [image.split for image in images] == ["train", "train", "val", "val"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (changed(0, image_id=8), r"annotations\[0\]: its image is not in the file"),
        (changed(0, category_id=8), r"annotations\[0\]: its category is not in"),
        (changed(1, bbox=[1, 2, -3, 4]), r"annotations\[1\]\.bbox: a box is empty"),
        (changed(1, bbox=[1, 2, 30, 4]), r"annotations\[1\]\.bbox: a box reaches"),
        (changed(1, bbox="1 2 3 4"), r"annotations\[1\]\.bbox: not an array"),
        ({**TREE, "categories": [{"id": 18}]}, r"categories\[0\]: no name"),
    ],
)
def test_an_impossible_annotation_is_named(
    tmp_path: Path, tree: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=r"instances_train2017\.json\." + message):
        read_all(write(tmp_path, tree), one_part())


def test_an_impossible_outline_is_named_when_it_is_painted(tmp_path: Path) -> None:
    root = write(tmp_path, changed(0, segmentation=[[1, 2, 3, 4]]))
    dogs = by_id(read_all(root, one_part()))["a"].regions[0]

    assert dogs.mask is not None
    with pytest.raises(DatasetError, match=r"annotations\[0\]: a polygon"):
        dogs.mask()


REFERENCES = [
    {
        "ref_id": 1,
        "ann_id": 1,
        "category_id": 18,
        "image_id": 7,
        "file_name": "a_1.jpg",
        "sent_ids": [0, 1, 2],
        "split": "train",
        "sentences": [
            {"tokens": ["left", "dog"], "raw": "Left dog", "sent": "left dog"},
            {"tokens": ["left", "dog"], "raw": "left dog!", "sent": "left dog"},
            {"tokens": ["the", "dog"], "raw": "the dog", "sent": "the dog"},
        ],
    },
    {
        "ref_id": 2,
        "ann_id": 2,
        "category_id": 18,
        "image_id": 7,
        "split": "testA",
        "sentences": [{"raw": "lower", "sent": "lower dog"}],
    },
]


def write_references(root: Path, references: object) -> Path:
    save_json(root / "instances.json", TREE)
    save_json(root / "refs(unc).json", references)
    save_picture(root / "train2014" / "a.jpg")
    return root


def test_each_expression_is_a_region_of_one_instance(tmp_path: Path) -> None:
    (image,) = read_all(write_references(tmp_path, REFERENCES), registered("refcoco"))

    said = [(region.phrase, region.boxes_xyxy) for region in image.regions]
    assert said == [
        ("left dog", ((1, 2, 4, 4),)),
        ("the dog", ((1, 2, 4, 4),)),
        ("lower dog", ((5, 4, 7, 6),)),
    ]
    mask = image.regions[2].mask
    assert mask is not None
    assert mask().sum() == 4
    assert image.label_space is None


def test_an_image_of_two_splits_is_for_testing(tmp_path: Path) -> None:
    (image,) = read_all(write_references(tmp_path, REFERENCES), registered("refcoco"))

    assert image.split == "test"


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    root = write_references(tmp_path, REFERENCES)
    # Loading it would write a file: os.system("touch ...").
    witness = tmp_path / "witness"
    bomb = f"cposix\nsystem\n(S'touch {witness}'\ntR.".encode()
    (root / "refs(unc).p").write_bytes(bomb)

    spec = registered("refcoco", references="refs(unc).p")
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p is not JSON.*convert"):
        read_all(root, spec)

    assert not witness.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ann_id": 99}, r"\[0\]: its annotation is not in the instance file"),
        ({"image_id": 9}, r"\[0\]: its annotation is of another image"),
        ({"image_id": 99}, r"\[0\]: its image is not in instances\.json"),
        ({"sentences": [{}]}, r"\[0\]\.sentences\[0\]: no sent"),
        ({"split": "holdout"}, r"\[0\]\.split: no split"),
    ],
)
def test_an_impossible_reference_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    root = write_references(tmp_path, [{**REFERENCES[0], **change}])
    save_picture(root / "train2014" / "b.jpg")

    with pytest.raises(DatasetError, match=message):
        read_all(root, registered("refcoco"))


def test_labels_of_a_medical_set_are_mapped_to_phrases(tmp_path: Path) -> None:
    write(tmp_path)
    part = {"annotations": "annotations/instances_val2017.json", "images": "val2017"}
    spec = spec_of("coco", {"parts": [part]}, label_map={"dog": "lung nodule"})

    assert read_all(tmp_path, spec)[0].label_space == ("lung nodule", "toothbrush")


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    root = write_references(write(tmp_path), REFERENCES)
    (root / "val2017" / "a.jpg").unlink()
    (root / "train2014" / "a.jpg").unlink()

    detected = read_all(root, registered("coco-2017", missing_images="skip"))
    referred = read_all(root, registered("refcoco", missing_images="skip"))

    assert [image.image_id for image in detected] == ["a", "b", "b"]
    assert referred == []
