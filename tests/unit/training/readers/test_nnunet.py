"""MSD, both versions of nnU-Net, AMOS and BTCV come out alike."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.volume_files import make_spec, volume, write_nifti
from training.errors import DatasetError
from training.readers import find_reader

LABELS = (volume(3) % 4).astype(np.uint8)
SPEC = make_spec("nnunet")


def describe(root: Path, **values: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(values))


def mask(image: Any, label: str) -> np.ndarray[Any, Any]:
    (region,) = (one for one in image.regions if one.label == label)
    found: np.ndarray[Any, Any] = region.mask()
    return found


def make_v2(root: Path, **changes: Any) -> None:
    write_nifti(root / "imagesTr" / "demo_0001_0000.nii.gz", volume(1), axes="RAI")
    write_nifti(root / "imagesTr" / "demo_0001_0001.nii.gz", volume(2), axes="RAI")
    write_nifti(root / "labelsTr" / "demo_0001.nii.gz", LABELS, axes="RAI")
    values = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "whole tumor": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    describe(root, **{**values, **changes})


def test_version_two_has_channels_regions_and_an_ignored_label(tmp_path: Path) -> None:
    make_v2(tmp_path)

    first, second = find_reader("nnunet")(tmp_path, SPEC)

    np.testing.assert_array_equal(first.load().pixels, volume(1))
    np.testing.assert_array_equal(second.load().pixels, volume(2))
    assert (first.image_id, second.image_id) == ("demo_0001/T1", "demo_0001/FLAIR")
    assert (first.modality, first.view, first.split) == ("MR", "T1", None)
    assert first.patient_id == second.patient_id == "demo_0001"
    np.testing.assert_array_equal(mask(first, "whole tumor"), np.isin(LABELS, [1, 2]))
    np.testing.assert_array_equal(mask(second, "core"), LABELS == 2)
    np.testing.assert_array_equal(mask(second, "ignore"), LABELS == 3)
    assert [one.label for one in first.regions if one.ignore] == ["ignore"]
    assert first.label_space == ("whole tumor", "core")


def test_the_decathlon_maps_values_to_names(tmp_path: Path) -> None:
    both = np.stack([volume(1), volume(2)])
    write_nifti(tmp_path / "imagesTr" / "BRATS_001.nii.gz", both)
    write_nifti(tmp_path / "labelsTr" / "BRATS_001.nii.gz", LABELS)
    write_nifti(tmp_path / "imagesTr" / "._BRATS_001.nii.gz", LABELS)
    describe(
        tmp_path,
        modality={"0": "FLAIR", "1": "T1w"},
        labels={"0": "background", "1": "edema", "2": "left_core", "3": "enhancing"},
        training=[
            {
                "image": "./imagesTr/BRATS_001.nii.gz",
                "label": "./labelsTr/BRATS_001.nii.gz",
            }
        ],
        test=["./imagesTs/BRATS_002.nii.gz"],
    )

    images = list(find_reader("nnunet")(tmp_path, SPEC))

    assert [one.view for one in images] == ["FLAIR", "T1w"]
    np.testing.assert_array_equal(images[1].load().pixels, volume(2))
    np.testing.assert_array_equal(mask(images[1], "edema"), LABELS == 1)
    assert images[0].label_space == ("edema", "left core", "enhancing")
    assert images[0].regions[1].laterality == "L"


def test_version_one_lists_names_without_the_channel(tmp_path: Path) -> None:
    write_nifti(tmp_path / "imagesTr" / "a [1]_0000.nii.gz", volume(1))
    write_nifti(tmp_path / "labelsTr" / "a [1].nii.gz", (LABELS > 0).astype(np.uint8))
    describe(
        tmp_path,
        modality={"0": "CT"},
        labels={"0": "background", "1": "spleen"},
        training=[
            {"image": "./imagesTr/a [1].nii.gz", "label": "./labelsTr/a [1].nii.gz"}
        ],
    )

    (image,) = find_reader("nnunet")(tmp_path, make_spec("nnunet", modality="MR"))

    assert (image.image_id, image.modality, image.view) == ("a [1]", "CT", None)
    np.testing.assert_array_equal(image.load().pixels, volume(1))


def test_amos_holds_mr_from_case_500_on(tmp_path: Path) -> None:
    entries = []
    for name in ("amos_0004", "amos_0507"):
        write_nifti(tmp_path / "imagesTr" / f"{name}.nii.gz", volume(1))
        write_nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", LABELS)
        path = f"{name}.nii.gz"
        entries.append({"image": f"./imagesTr/{path}", "label": f"./labelsTr/{path}"})
    describe(
        tmp_path,
        modality={"0": "CT"},
        labels={"0": "background", "1": "spleen", "2": "right kidney", "3": "bladder"},
        training=entries[:1],
        validation=entries[1:],
    )
    spec = make_spec(
        "nnunet",
        layout={
            "modality_from_number": {500: "MR"},
            "not_looked_for": {"MR": ["bladder"]},
        },
    )

    ct, mr = find_reader("nnunet")(tmp_path, spec)

    assert (ct.modality, mr.modality) == ("CT", "MR")
    assert (ct.split, mr.split) == ("train", "val")
    assert ct.label_space == ("spleen", "right kidney", "bladder")
    assert mr.label_space == ("spleen", "right kidney")
    assert {one.label for one in mr.regions} == {"spleen", "right kidney"}
    np.testing.assert_array_equal(mask(mr, "spleen"), LABELS == 1)


def test_composites_are_labels_and_may_replace_one(tmp_path: Path) -> None:
    make_v2(
        tmp_path,
        channel_names={"0": "CT", "1": "CT"},
        labels={"background": 0, "liver": 1, "cancer": 2, "vessel": 3},
    )
    parts = {"liver": ["liver", "cancer"], "all": ["liver", "cancer", "vessel"]}
    spec = make_spec("nnunet", layout={"composites": parts})
    wrong = make_spec("nnunet", layout={"composites": {"liver": ["tumour"]}})

    image = next(iter(find_reader("nnunet")(tmp_path, spec)))

    np.testing.assert_array_equal(mask(image, "liver"), np.isin(LABELS, [1, 2]))
    np.testing.assert_array_equal(mask(image, "all"), LABELS > 0)
    assert image.label_space == ("liver", "cancer", "vessel", "all")
    with pytest.raises(DatasetError, match="liver is made of no label tumour"):
        list(find_reader("nnunet")(tmp_path, wrong))


def test_version_two_may_list_its_files(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a" / "x.nii.gz", volume(1))
    write_nifti(tmp_path / "b" / "y.nii.gz", LABELS)
    make_v2(
        tmp_path / "d",
        channel_names={"0": "CT"},
        dataset={"case": {"images": ["../a/x.nii.gz"], "label": "../b/y.nii.gz"}},
    )

    (image,) = find_reader("nnunet")(tmp_path / "d", SPEC)

    assert image.image_id == "case"
    np.testing.assert_array_equal(mask(image, "core"), LABELS == 2)


def test_patients_are_read_from_names(tmp_path: Path) -> None:
    make_v2(tmp_path)
    spec = make_spec("nnunet", layout={"patient": r"^([a-z]+)_"})
    wrong = make_spec("nnunet", layout={"patient": r"^(\d+)_"})

    images = list(find_reader("nnunet")(tmp_path, spec))

    assert {image.patient_id for image in images} == {"demo"}
    with pytest.raises(DatasetError, match="demo_0001"):
        list(find_reader("nnunet")(tmp_path, wrong))


def test_loaders_travel_to_other_processes(tmp_path: Path) -> None:
    make_v2(tmp_path)
    image = next(iter(find_reader("nnunet")(tmp_path, SPEC)))

    copy = pickle.loads(pickle.dumps(image))

    np.testing.assert_array_equal(copy.load().pixels, volume(1))
    np.testing.assert_array_equal(mask(copy, "core"), LABELS == 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numTraining": 2}, "labelsTr: holds 1 cases, dataset.json says 2"),
        ({"channel_names": {"0": "CT"}}, "demo_0001: has 2 channels"),
        ({"channel_names": {"0": "CT", "2": "CT"}}, "dataset.json"),
        ({"labels": {"background": 0, "a": "b"}}, "dataset.json"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "twice"),
        ({"file_ending": ".png"}, "dataset.json"),
        ({"training": [{"image": "/etc/x.nii", "label": "y"}]}, "outside"),
    ],
)
def test_a_description_that_cannot_be_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make_v2(tmp_path, **changes)

    with pytest.raises(DatasetError, match=message):
        list(find_reader("nnunet")(tmp_path, SPEC))


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    read = find_reader("nnunet")
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        list(read(tmp_path, SPEC))
    make_v2(tmp_path)
    first = tmp_path / "imagesTr" / "demo_0001_0000.nii.gz"
    first.rename(tmp_path / "imagesTr" / "demo_0001_0002.nii.gz")
    with pytest.raises(DatasetError, match=r"demo_0001_0001\.nii\.gz: channel 0"):
        list(read(tmp_path, SPEC))
    describe(
        tmp_path,
        modality={"0": "CT"},
        labels={"0": "background", "1": "liver"},
        training=[{"image": "imagesTr/gone.nii.gz", "label": "labelsTr/gone.nii.gz"}],
    )
    with pytest.raises(DatasetError, match="gone"):
        list(read(tmp_path, SPEC))


def test_labels_off_their_image_are_refused(tmp_path: Path) -> None:
    make_v2(tmp_path)
    write_nifti(
        tmp_path / "labelsTr" / "demo_0001.nii.gz", LABELS, axes="RAI", shift_mm=3
    )
    image = next(iter(find_reader("nnunet")(tmp_path, SPEC)))

    with pytest.raises(DatasetError, match=r"labelsTr/demo_0001\.nii\.gz.*3\.00 mm"):
        mask(image, "core")


BTCV = {
    "images": "img",
    "image_name": r"img(\d+)",
    "label_name": "label/label{case}",
    "labels": {1: "spleen", 2: "right kidney", 3: "left kidney"},
}


def test_btcv_pairs_two_folders(tmp_path: Path) -> None:
    write_nifti(tmp_path / "img" / "img0001.nii.gz", volume(1))
    write_nifti(tmp_path / "label" / "label0001.nii.gz", LABELS)
    spec = make_spec("paired-volumes", layout=BTCV)

    (image,) = find_reader("paired-volumes")(tmp_path, spec)

    np.testing.assert_array_equal(image.load().pixels, volume(1))
    np.testing.assert_array_equal(mask(image, "left kidney"), LABELS == 3)
    assert image.patient_id == "0001"
    assert image.regions[2].laterality == "L"
    assert image.label_space == ("spleen", "right kidney", "left kidney")


def test_btcv_without_a_pair_is_refused(tmp_path: Path) -> None:
    spec = make_spec("paired-volumes", layout=BTCV)
    read = find_reader("paired-volumes")
    with pytest.raises(DatasetError, match="img: holds no volume"):
        list(read(tmp_path, spec))
    write_nifti(tmp_path / "img" / "img0001.nii.gz", volume(1))
    with pytest.raises(DatasetError, match=r"img0001.nii.gz.*label0001"):
        list(read(tmp_path, spec))
    (tmp_path / "img" / "img0001.nii.gz").rename(tmp_path / "img" / "scan.nii.gz")
    with pytest.raises(DatasetError, match=r"scan\.nii\.gz"):
        list(read(tmp_path, spec))
