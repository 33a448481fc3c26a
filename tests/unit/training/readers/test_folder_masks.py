from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.builders.picture_files import (
    blob,
    by_id,
    read_all,
    registered,
    save_json,
    save_picture,
    spec_of,
)
from training.errors import DatasetError
from training.readers.source import SourceImage

COLOUR = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
MASK = blob(slice(1, 4), slice(2, 6))
OTHER = blob(slice(4, 6), slice(0, 3))


def mask_of(image: SourceImage, label: str) -> np.ndarray[Any, Any]:
    (region,) = [region for region in image.regions if region.label == label]
    assert region.mask is not None
    return region.mask()


@pytest.mark.parametrize(
    ("name", "pictures", "truth", "ending"),
    [
        (
            "isic-2016",
            "ISBI2016_ISIC_Part1_Training_Data",
            "ISBI2016_ISIC_Part1_Training_GroundTruth",
            "_Segmentation",
        ),
        (
            "isic-2017",
            "ISIC-2017_Training_Data",
            "ISIC-2017_Training_Part1_GroundTruth",
            "_segmentation",
        ),
        (
            "isic-2018",
            "ISIC2018_Task1-2_Training_Input",
            "ISIC2018_Task1_Training_GroundTruth",
            "_segmentation",
        ),
    ],
)
def test_isic_writes_its_masks_with_or_without_a_capital(
    tmp_path: Path, name: str, pictures: str, truth: str, ending: str
) -> None:
    save_picture(tmp_path / pictures / "ISIC_0000001.jpg", COLOUR)
    save_picture(tmp_path / pictures / "ISIC_0000001_superpixels.png", COLOUR)
    save_picture(tmp_path / truth / f"ISIC_0000001{ending}.png", MASK)

    (image,) = read_all(tmp_path, registered(name))

    assert image.image_id == f"{pictures}/ISIC_0000001"
    assert np.array_equal(mask_of(image, "skin lesion"), MASK > 0)
    assert (image.modality, image.split) == ("XC", "train")
    assert image.load().pixels.shape == (6, 8, 3)


def test_isic_has_splits_that_may_not_be_there(tmp_path: Path) -> None:
    for part in ("Training", "Test"):
        folder = f"ISIC2018_Task1-2_{part}_Input"
        save_picture(tmp_path / folder / "ISIC_0000001.jpg", COLOUR)
        truth = f"ISIC2018_Task1_{part}_GroundTruth"
        save_picture(tmp_path / truth / "ISIC_0000001_segmentation.png", MASK)

    images = read_all(tmp_path, registered("isic-2018"))

    assert [image.split for image in images] == ["train", "test"]


def test_a_mask_that_only_differs_in_case_is_pointed_at(tmp_path: Path) -> None:
    folder, truth = (
        "ISBI2016_ISIC_Part1_Training_Data",
        "ISBI2016_ISIC_Part1_Training_GroundTruth",
    )
    save_picture(tmp_path / folder / "ISIC_0000001.jpg", COLOUR)
    save_picture(tmp_path / truth / "ISIC_0000001_segmentation.png", MASK)

    with pytest.raises(
        DatasetError,
        match=r"no mask ISIC_0000001_Segmentation\.png of skin lesion; there is "
        r"ISIC_0000001_segmentation\.png",
    ):
        read_all(tmp_path, registered("isic-2016"))


def write_kvasir(root: Path, boxes: object) -> Path:
    save_picture(root / "images" / "cju0.jpg", np.tile(COLOUR, (8, 8, 1)))
    large = np.zeros((48, 64), np.uint8)
    large[9:31, 18:38] = 255
    save_picture(root / "masks" / "cju0.jpg", np.stack([large] * 3, 2), quality=80)
    save_json(root / "kavsir_bboxes.json", boxes)
    return root


def test_kvasirs_blurred_masks_are_cut_at_half_brightness(tmp_path: Path) -> None:
    box = {"label": "polyp", "xmin": 18, "ymin": 9, "xmax": 38, "ymax": 31}
    boxes = {"cju0": {"height": 48, "width": 64, "bbox": [box]}}

    (image,) = read_all(write_kvasir(tmp_path, boxes), registered("kvasir-seg"))

    stored = np.asarray(Image.open(tmp_path / "masks/cju0.jpg"))
    assert len(np.unique(stored)) > 2
    mask = mask_of(image, "polyp")
    assert mask[9:31, 18:38].all()
    assert mask.sum() == 22 * 20
    assert image.regions[0].boxes_xyxy == ((18, 9, 38, 31),)
    assert registered("kvasir-seg").patient_unknown


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (
            {"label": "polyp", "xmin": 1},
            r"kavsir_bboxes\.json\[0\]\.bbox\[0\]: no ymin",
        ),
        (
            {"label": "polyp", "xmin": 9, "ymin": 1, "xmax": 3, "ymax": 4},
            r"\[0\]\.bbox\[0\]: a box is empty",
        ),
    ],
)
def test_an_impossible_box_is_named(
    tmp_path: Path, box: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(
            write_kvasir(tmp_path, {"cju0": {"bbox": [box]}}), registered("kvasir-seg")
        )


def test_an_image_without_boxes_keeps_its_mask(tmp_path: Path) -> None:
    (image,) = read_all(write_kvasir(tmp_path, {}), registered("kvasir-seg"))

    assert image.regions[0].boxes_xyxy == ()
    assert mask_of(image, "polyp").any()


def write_busi(root: Path) -> Path:
    for kind, number in (("benign", 1), ("benign", 10), ("malignant", 3)):
        save_picture(root / kind / f"{kind} ({number}).png")
        save_picture(root / kind / f"{kind} ({number})_mask.png", MASK)
    save_picture(root / "benign" / "benign (1)_mask_1.png", OTHER)
    save_picture(root / "normal" / "normal (1).png")
    save_picture(root / "normal" / "normal (1)_mask.png", MASK * 0)
    return root


def test_busi_has_several_masks_and_names_with_spaces_and_brackets(
    tmp_path: Path,
) -> None:
    images = by_id(read_all(write_busi(tmp_path), registered("busi")))

    assert sorted(images) == [
        "benign/benign (1)",
        "benign/benign (10)",
        "malignant/malignant (3)",
        "normal/normal (1)",
    ]
    lesions = [
        region.mask()
        for region in images["benign/benign (1)"].regions
        if region.label == "breast lesion" and region.mask is not None
    ]
    assert np.array_equal(lesions, [MASK > 0, OTHER > 0])
    one = mask_of(images["benign/benign (10)"], "benign breast lesion")
    assert np.array_equal(one, MASK > 0)


def test_busi_says_which_kind_and_a_normal_breast_has_none(tmp_path: Path) -> None:
    images = by_id(read_all(write_busi(tmp_path), registered("busi")))

    labels = {
        name: [region.label for region in image.regions]
        for name, image in images.items()
    }
    assert labels["malignant/malignant (3)"] == [
        "breast lesion",
        "malignant breast lesion",
    ]
    assert labels["normal/normal (1)"] == []
    assert "breast lesion" in (registered("busi").label_space or ())


GROUND = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"


def write_idrid(root: Path) -> Path:
    folder = root / "A. Segmentation/1. Original Images/a. Training Set"
    red = np.zeros((6, 8, 3), np.uint8)
    red[1:4, 2:6, 0] = 76
    save_picture(folder / "IDRiD_01.jpg", COLOUR)
    save_picture(root / GROUND / "1. Microaneurysms/IDRiD_01_MA.tif", red)
    save_picture(root / GROUND / "5. Optic Disc/IDRiD_01_OD.tif", red)
    return root


def test_idrids_missing_file_is_an_absent_lesion(tmp_path: Path) -> None:
    (image,) = read_all(write_idrid(tmp_path), registered("idrid"))

    status = {region.label: region.status for region in image.regions}
    assert status == {
        "microaneurysm": "present",
        "retinal haemorrhage": "absent",
        "hard exudate": "absent",
        "soft exudate": "absent",
        "optic disc": "present",
    }
    assert set(status) == set(registered("idrid").label_space or ())
    assert np.array_equal(mask_of(image, "microaneurysm"), MASK > 0)
    assert image.split == "train"


def test_an_optic_disc_is_never_absent(tmp_path: Path) -> None:
    root = write_idrid(tmp_path)
    (root / GROUND / "5. Optic Disc/IDRiD_01_OD.tif").unlink()

    with pytest.raises(DatasetError, match=r"IDRiD_01\.jpg has no mask IDRiD_01_OD"):
        read_all(root, registered("idrid"))


def test_refuges_levels_are_upside_down(tmp_path: Path) -> None:
    levels = np.full((6, 8), 255, np.uint8)
    levels[1:5, 1:7] = 128
    levels[2:4, 3:5] = 0
    for kind, name in (("Glaucoma", "g0001"), ("Non-Glaucoma", "n0001")):
        save_picture(tmp_path / "Training400" / kind / f"{name}.jpg", COLOUR)
        truth = tmp_path / "Annotation-Training400/Disc_Cup_Masks" / kind
        save_picture(truth / f"{name}.bmp", levels)
    save_picture(tmp_path / "REFUGE-Validation400" / "V0001.jpg", COLOUR)
    truth = tmp_path / "REFUGE-Validation400-GT/Disc_Cup_Masks"
    save_picture(truth / "V0001.bmp", levels)

    images = read_all(tmp_path, registered("refuge"))

    assert [image.split for image in images] == ["train", "train", "val"]
    for image in images:
        assert np.array_equal(mask_of(image, "optic disc"), levels <= 128)
        assert np.array_equal(mask_of(image, "optic cup"), levels == 0)


def generic(**mask: object) -> Any:
    rule = {"label": "lesion", "files": "masks/{stem}.png", **mask}
    pictures = [{"files": r"(?P<patient>p\d+)/(?P<stem>[^/]+)\.png"}]
    return spec_of("folder-masks", {"pictures": pictures, "masks": [rule]})


def test_a_group_may_name_the_patient(tmp_path: Path) -> None:
    save_picture(tmp_path / "p17" / "a.png")
    save_picture(tmp_path / "masks" / "a.png", MASK)

    (image,) = read_all(tmp_path, generic())

    assert image.patient_id == "p17"


def test_a_name_with_pattern_signs_is_taken_literally(tmp_path: Path) -> None:
    save_picture(tmp_path / "p1" / "a[1]*.png")
    save_picture(tmp_path / "masks" / "a[1]*.png", MASK)
    save_picture(tmp_path / "masks" / "a1x.png", OTHER)

    (image,) = read_all(tmp_path, generic())

    assert np.array_equal(mask_of(image, "lesion"), MASK > 0)


def test_a_missing_mask_may_say_nothing(tmp_path: Path) -> None:
    save_picture(tmp_path / "p1" / "a.png")

    (image,) = read_all(tmp_path, generic(missing="unknown"))

    assert image.regions == ()


def test_a_mask_of_another_size_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    save_picture(tmp_path / "p1" / "a.png")
    save_picture(tmp_path / "masks" / "a.png", MASK.T.copy())
    (image,) = read_all(tmp_path, generic())

    with pytest.raises(DatasetError, match=r"a\.png is 8 x 6, its image 6 x 8"):
        mask_of(image, "lesion")


def test_layouts_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"demo: no picture in \. fits"):
        read_all(tmp_path, generic())
    save_picture(tmp_path / "p1" / "a.png")
    with pytest.raises(DatasetError, match="asks for what the pictures' pattern lacks"):
        read_all(tmp_path, generic(files="{side}/{stem}.png"))
    bad = spec_of("folder-masks", {"pictures": [{"files": "("}], "masks": []})
    with pytest.raises(DatasetError, match="layout option"):
        read_all(tmp_path, bad)
    with pytest.raises(DatasetError, match="refuge: no folder Training400"):
        read_all(tmp_path, registered("refuge"))
