"""ReXGroundingCT gives each finding its mask, and keeps what is unknown unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.volume_files import make_spec, volume, write_nifti
from training.errors import DatasetError
from training.readers import find_reader

SPEC = make_spec("rexgroundingct", label_map={"2d": "lung nodule"})
TRAIN = {
    "name": "train_9001_a_1.nii.gz",
    "findings": {
        "0": "6 mm nodule in the right lower lobe",
        "1": "small left effusion",
    },
    "categories": {"0": "2d", "1": "2e"},
    "pixels": {"0": 12},
}
VAL = {
    "name": "train_7_b_2.nii.gz",
    "findings": {"0": "a nodule"},
    "categories": {"0": "2d"},
}
MASKS = (np.stack([volume(5), volume(6)]) % 3).astype(np.uint8)


def make_dataset(
    root: Path, *, axes: str = "RAS", first: Any = TRAIN, **mask_changes: Any
) -> None:
    lists = {
        "train": [first],
        "val": [VAL],
        "test": [{**VAL, "name": "train_8_a_1.nii.gz"}],
    }
    (root / "dataset.json").write_text(json.dumps(lists))
    write_nifti(root / "images" / TRAIN["name"], volume(1), axes=axes)
    write_nifti(
        root / "images" / "train_7" / "train_7_b" / VAL["name"], volume(2), axes=axes
    )
    folder = root / "segmentations"
    keep: dict[str, Any] = {"axes": axes, "channels": "first", **mask_changes}
    write_nifti(folder / TRAIN["name"], MASKS, **keep)
    write_nifti(folder / VAL["name"], MASKS[0], **keep)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_findings_have_their_masks_in_any_orientation(
    axes: str, tmp_path: Path
) -> None:
    make_dataset(tmp_path, axes=axes)

    train, val = find_reader("rexgroundingct")(tmp_path, SPEC)

    np.testing.assert_array_equal(train.load().pixels, volume(1))
    np.testing.assert_array_equal(val.load().pixels, volume(2))
    for finding, region in enumerate(train.regions):
        assert region.mask is not None
        np.testing.assert_array_equal(region.mask(), MASKS[finding] > 0)
    assert val.regions[0].mask is not None
    np.testing.assert_array_equal(val.regions[0].mask(), MASKS[0] > 0)


def test_words_codes_and_patients_are_kept(tmp_path: Path) -> None:
    make_dataset(tmp_path)

    train, val = find_reader("rexgroundingct")(tmp_path, SPEC)

    nodule, effusion = train.regions
    assert (nodule.label, nodule.phrase) == (
        "2d",
        "6 mm nodule in the right lower lobe",
    )
    assert (nodule.laterality, effusion.laterality) == ("R", "L")
    assert (train.patient_id, train.study_id) == ("train_9001", "train_9001_a")
    assert (train.split, val.split) == ("train", "val")


def test_unlabelled_places_are_unknown_in_training_scans_alone(tmp_path: Path) -> None:
    make_dataset(tmp_path)

    train, val = find_reader("rexgroundingct")(tmp_path, SPEC)

    assert not any(region.complete for region in train.regions)
    assert all(region.complete for region in val.regions)
    assert train.label_space is None


def test_raw_scans_are_rescaled_and_turned_by_the_table(tmp_path: Path) -> None:
    make_dataset(tmp_path, axes="LPS")
    (tmp_path / "meta.csv").write_text(
        "VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing\n"
        f'{TRAIN["name"]},2,-1024,"[0.7, 0.6]",1.5\n'
        f'{VAL["name"]},1,0,"[0.7, 0.7]",1.5\n'
    )
    layout = {"metadata": "meta.csv", "axis_codes": "RPS"}

    train, _ = find_reader("rexgroundingct")(
        tmp_path, make_spec("rexgroundingct", layout=layout)
    )

    picture = train.load()
    mirrored = volume(1)[:, :, ::-1].astype(np.float32)
    np.testing.assert_array_equal(picture.pixels, mirrored * 2 - 1024)
    assert picture.spacing_mm == pytest.approx((1.5, 0.6, 0.7))
    assert train.regions[1].mask is not None
    np.testing.assert_array_equal(train.regions[1].mask(), (MASKS[1] > 0)[:, :, ::-1])


def test_a_mask_elsewhere_is_refused_unless_it_is_known_to_follow_its_scan(
    tmp_path: Path,
) -> None:
    make_dataset(tmp_path, shift_mm=20)
    strict = next(iter(find_reader("rexgroundingct")(tmp_path, SPEC)))
    trusting = make_spec("rexgroundingct", layout={"masks": "scan"})
    loose = next(iter(find_reader("rexgroundingct")(tmp_path, trusting)))
    assert strict.regions[0].mask is not None
    assert loose.regions[0].mask is not None

    with pytest.raises(DatasetError, match=r"segmentations/train_9001_a_1\.nii\.gz"):
        strict.regions[0].mask()
    np.testing.assert_array_equal(loose.regions[0].mask(), MASKS[0] > 0)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({**TRAIN, "findings": {"0": "one"}}, "has 2 masks"),
        ({**TRAIN, "findings": {"1": "one", "2": "two"}}, "counted from 0"),
        ({**TRAIN, "name": "somebody.nii.gz"}, "not the name"),
        ({**TRAIN, "name": "train_1_a_1.nii.gz"}, "train_1_a_1"),
        ({"name": TRAIN["name"]}, "no findings"),
    ],
)
def test_lists_that_cannot_be_are_refused(
    first: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make_dataset(tmp_path, first=first)

    with pytest.raises(DatasetError, match=message):
        list(find_reader("rexgroundingct")(tmp_path, SPEC))


def test_axis_codes_must_span_the_space(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    spec = make_spec("rexgroundingct", layout={"axis_codes": "RLS"})

    with pytest.raises(DatasetError, match="axis_codes"):
        list(find_reader("rexgroundingct")(tmp_path, spec))
