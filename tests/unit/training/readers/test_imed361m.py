from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests.builders.picture_files import (
    blob,
    by_id,
    read_all,
    registered,
    save_json,
    save_picture,
)
from training.errors import DatasetError
from training.readers.source import SourceImage

LABELS = {"0": "background", "2": "liver", "1": "spleen", "10": "aorta"}
MASKS = np.stack(
    [
        blob(slice(0, 2), slice(0, 3)),
        blob(slice(3, 6), slice(4, 8)),
        np.zeros((6, 8), np.uint8),
    ]
)
NAME = "x___ABD_001_100"


def save_sparse(path: Path, masks: np.ndarray[Any, Any], *, flat: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 1 if flat else len(masks)
    matrix = sparse.csr_matrix((masks > 0).astype(np.uint8).reshape(rows, -1))
    sparse.save_npz(path, matrix)


def write(root: Path, *, label: str = "", **tree: object) -> Path:
    label = label or f"label/{NAME}.(3, 6, 8, 1).npz"
    item = {
        "image": f"image/{NAME}.png",
        "label": label,
        "imask": f"imask/{NAME}.npy",
    }
    value = {
        "name": "Demo",
        "modality": {"0": "ct"},
        "labels": LABELS,
        "numTraining": 1,
        "training": [item],
        **tree,
    }
    save_json(root / "dataset.json", value)
    save_picture(root / f"image/{NAME}.png")
    save_sparse(root / f"label/{NAME}.(3, 6, 8, 1).npz", MASKS)
    (root / "imask").mkdir(exist_ok=True)
    np.save(root / f"imask/{NAME}.npy", np.full((6, 8), -1))
    return root


def masks_of(image: SourceImage) -> dict[str, np.ndarray[Any, Any]]:
    return {r.label: r.mask() for r in image.regions if r.mask is not None}


@pytest.mark.parametrize("flat", [False, True])
def test_the_first_axis_is_the_class_in_the_order_of_its_number(
    tmp_path: Path, flat: bool
) -> None:
    root = write(tmp_path / "BTCV")
    save_sparse(root / f"label/{NAME}.(3, 6, 8, 1).npz", MASKS, flat=flat)

    (image,) = read_all(root, registered("imed-361m"))

    masks = masks_of(image)
    assert list(masks) == ["spleen", "liver", "aorta"]
    assert np.array_equal(masks["spleen"], MASKS[0] > 0)
    assert np.array_equal(masks["liver"], MASKS[1] > 0)
    assert not masks["aorta"].any()


def test_slices_of_a_case_share_their_patient(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path / "BTCV"), registered("imed-361m"))

    assert image.image_id == f"BTCV/{NAME}"
    assert image.patient_id == "BTCV/ABD_001"
    assert (image.modality, image.split) == ("CT", "train")


@pytest.mark.parametrize("shape", ["(3, 6, 8, 1)", "(3, 1, 6, 8)", "(3, 6, 1, 8)"])
def test_the_cut_axis_may_be_any(tmp_path: Path, shape: str) -> None:
    root = write(tmp_path, label=f"label/a.{shape}.npz")
    save_sparse(root / f"label/a.{shape}.npz", MASKS)

    (image,) = read_all(root, registered("imed-361m"))

    assert np.array_equal(masks_of(image)["liver"], MASKS[1] > 0)


def test_the_interactive_masks_are_never_opened(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / f"imask/{NAME}.npy").unlink()

    (image,) = read_all(root, registered("imed-361m"))

    assert [region.label for region in image.regions] == ["spleen", "liver", "aorta"]
    assert masks_of(image)["spleen"].any()


def test_testing_lists_and_many_datasets_are_found(tmp_path: Path) -> None:
    write(tmp_path / "B", modality={"0": "mri"})
    root = write(tmp_path / "A")
    item = {"image": f"image/{NAME}.png", "label": f"label/{NAME}.(3, 6, 8, 1).npz"}
    write(root, training=[], testing=[item])

    images = by_id(read_all(tmp_path, registered("imed-361m")))

    assert images[f"A/{NAME}"].split == "test"
    assert images[f"B/{NAME}"].modality == "MR"


def test_a_pickle_in_an_array_file_is_never_loaded(tmp_path: Path) -> None:
    root = write(tmp_path)
    hostile = np.empty(1, dtype=object)
    hostile[0] = {"not": "numbers"}
    np.savez(
        root / f"label/{NAME}.(3, 6, 8, 1).npz",
        format=np.array(b"csr"),
        shape=np.array([3, 48]),
        data=hostile,
        indices=hostile,
        indptr=hostile,
        allow_pickle=True,
    )
    (image,) = read_all(root, registered("imed-361m"))

    with pytest.raises(DatasetError, match="cannot be read: ValueError"):
        masks_of(image)


@pytest.mark.parametrize("place", [60, 80, 120, 160])
def test_a_spoiled_array_is_named_whatever_breaks(tmp_path: Path, place: int) -> None:
    root = write(tmp_path)
    path = root / f"label/{NAME}.(3, 6, 8, 1).npz"
    data = bytearray(path.read_bytes())
    data[place : place + 20] = b"\xff" * 20
    path.write_bytes(data)
    (image,) = read_all(root, registered("imed-361m"))

    with pytest.raises(DatasetError, match=rf"{NAME}.*cannot be read"):
        masks_of(image)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("label/a.npz", r"training\[0\]\.label: the name does not end in the shape"),
        ("label/a.(2, 6, 8, 1).npz", r"label: 2 masks of 3 classes"),
        ("label/a.(3, 6, 8).npz", "the name does not end in the shape"),
    ],
)
def test_an_impossible_name_is_refused(
    tmp_path: Path, label: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_all(write(tmp_path, label=label), registered("imed-361m"))


@pytest.mark.parametrize(
    ("label", "masks", "message"),
    [
        ("label/a.(3, 8, 6, 1).npz", MASKS, "its shape is not that of"),
        ("label/a.(3, 6, 4, 2).npz", MASKS, "its shape is not that of"),
        ("label/a.(3, 6, 8, 1).npz", MASKS[:2], "not of the shape in its name"),
        ("label/a.(3, 6, 8, 1).npz", None, "is not there"),
    ],
)
def test_an_array_of_another_shape_is_refused_when_it_is_loaded(
    tmp_path: Path, label: str, masks: np.ndarray[Any, Any] | None, message: str
) -> None:
    root = write(tmp_path, label=label)
    if masks is not None:
        save_sparse(root / label, masks)
    (image,) = read_all(root, registered("imed-361m"))

    with pytest.raises(DatasetError, match=message):
        masks_of(image)


def test_a_folder_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no dataset\.json here or one below"):
        read_all(tmp_path, registered("imed-361m"))
    with pytest.raises(DatasetError, match="none of the lists training"):
        read_all(write(tmp_path, training=None), registered("imed-361m"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "B")
    root = write(tmp_path / "A")
    (root / f"image/{NAME}.png").unlink()

    (image,) = read_all(tmp_path, registered("imed-361m", missing_images="skip"))

    assert image.image_id == f"B/{NAME}"


@pytest.mark.parametrize("modality", [None, {}])
def test_a_dataset_that_names_no_modality_has_that_of_the_specification(
    tmp_path: Path, modality: object
) -> None:
    (image,) = read_all(write(tmp_path, modality=modality), registered("imed-361m"))

    assert image.modality == "OT"
