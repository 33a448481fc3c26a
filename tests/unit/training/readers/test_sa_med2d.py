from __future__ import annotations

from pathlib import Path

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
from training.readers import find_reader

SLICE = "ct_00--DemoDS--case01--z_0040"
CLASSES = {"DemoDS": {"liver": "0005", "lung_nodule": "0007", "union_all": "0009"}}


def write(root: Path, index: dict[str, list[str]], classes: object = CLASSES) -> Path:
    save_json(root / "SAMed2D_v1.json", index)
    save_json(root / "SAMed2D_v1_class_mapping_id.json", classes)
    for image in index:
        save_picture(root / image)
    for place, mask in enumerate(name for names in index.values() for name in names):
        save_picture(root / mask, blob(slice(place, place + 1), slice(0, 3), level=1))
    return root


def masks_of(stem: str, *endings: str) -> dict[str, list[str]]:
    return {f"images/{stem}.png": [f"masks/{stem}--{e}.png" for e in endings]}


def test_instances_stay_apart_and_merged_classes_are_left_out(tmp_path: Path) -> None:
    index = masks_of(SLICE, "0005_000", "0007_000", "0009_000", "0007_001")
    spec = registered("sa-med2d-20m")

    (image,) = read_all(write(tmp_path, index), spec)

    labels = [spec.phrase_of(region.label) for region in image.regions]
    assert labels == ["liver", "lung nodule", "lung nodule"]
    for region, row in zip(image.regions, (0, 1, 3), strict=True):
        assert region.mask is not None
        # Levels begin at 1: a mask is whatever is not 0.
        wanted = blob(slice(row, row + 1), slice(0, 3)) > 0
        assert np.array_equal(region.mask(), wanted)


def test_the_name_says_modality_and_patient(tmp_path: Path) -> None:
    index = {
        **masks_of(SLICE, "0005_000"),
        **masks_of("mr_t1--DemoDS--case--02--x_0001", "0005_000"),
        **masks_of("x_ray--DemoDS--case01--2d_none"),
    }

    images = by_id(read_all(write(tmp_path, index), registered("sa-med2d-20m")))

    assert [image.modality for image in images.values()] == ["CT", "MR", "DX"]
    assert images[SLICE].patient_id == "DemoDS--case01"
    assert images["mr_t1--DemoDS--case--02--x_0001"].patient_id == "DemoDS--case--02"
    assert images[SLICE].label_space is None


def test_only_some_of_the_datasets_can_be_read(tmp_path: Path) -> None:
    other = "ct_00--Other--case01--z_0040"
    root = write(tmp_path, {**masks_of(SLICE, "0005_000"), **masks_of(other)})

    images = read_all(root, registered("sa-med2d-20m", datasets=["DemoDS"]))

    assert [image.image_id for image in images] == [SLICE]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (masks_of(SLICE, "0006_000"), r"member 1\[0\]: its class is not in"),
        (masks_of(SLICE, "0005"), r"member 1\[0\]: the mask's name"),
        (
            {f"images/{SLICE}.png": ["masks/ct_00--DemoDS--case02--z_1--0005_000.png"]},
            r"member 1\[0\]: the mask's name",
        ),
        (masks_of("ct_00--DemoDS--case01"), "member 1: the image's name"),
        (masks_of("sonar--DemoDS--case01--z_1"), "member 1: the modality"),
        (masks_of("ct_00--Other--case01--z_1"), "member 1: its dataset is not in"),
    ],
)
def test_an_impossible_member_is_named_without_its_case(
    tmp_path: Path, index: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_all(write(tmp_path, index), registered("sa-med2d-20m"))

    assert "case01" not in str(caught.value)


def test_two_classes_with_one_number_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, masks_of(SLICE), {"DemoDS": {"liver": "1", "spleen": "1"}})

    with pytest.raises(DatasetError, match="two classes share a number"):
        read_all(root, registered("sa-med2d-20m"))


def test_images_are_read_without_the_rest_of_the_index(tmp_path: Path) -> None:
    root = write(tmp_path, masks_of(SLICE, "0005_000"))
    broken = (root / "SAMed2D_v1.json").read_text()[:-1] + ', "images/b.png": ['
    (root / "SAMed2D_v1.json").write_text(broken)

    images = iter(find_reader("sa-med2d")(root, registered("sa-med2d-20m")))

    assert next(images).image_id == SLICE
    with pytest.raises(DatasetError, match="after member 1: not JSON"):
        next(images)


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    other = "ct_00--DemoDS--case02--z_0040"
    root = write(tmp_path, {**masks_of(other), **masks_of(SLICE)})
    (root / "images" / f"{other}.png").unlink()

    (image,) = read_all(root, registered("sa-med2d-20m", missing_images="skip"))

    assert image.image_id == SLICE
