"""TotalSegmentator's folders give volumes, masks and what was looked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders.volume_files import SPACING_MM, make_spec, volume, write_nifti
from training.errors import DatasetError
from training.readers import find_reader

SPEC = make_spec(
    "totalsegmentator", label_map={"lung_upper_lobe_left": "left upper lobe"}
)
HEADER = "image_id;age;gender;institute;study_type;split\n"


def make_dataset(root: Path) -> None:
    (root / "meta.csv").write_text(
        "\ufeff"
        + HEADER
        + "s0001;61;f;A;ct thorax;train\ns0002;50;m;B;ct neck-thorax;test\n"
    )
    for name in ("s0001", "s0002"):
        write_nifti(root / name / "ct.nii.gz", volume(), axes="RAS")
    lobe = np.zeros((3, 4, 5), np.uint8)
    lobe[1, 2, 4] = 1
    masks = root / "s0001" / "segmentations"
    write_nifti(masks / "lung_upper_lobe_left.nii.gz", lobe, axes="RAS")
    write_nifti(masks / "liver.nii.gz", lobe * 0, axes="RAS")
    write_nifti(root / "s0002" / "segmentations" / "liver.nii.gz", lobe, axes="RAS")
    (root / "__MACOSX").mkdir()


def test_a_scan_comes_with_its_masks(tmp_path: Path) -> None:
    make_dataset(tmp_path)

    first, second = find_reader("totalsegmentator")(tmp_path, SPEC)

    picture = first.load()
    np.testing.assert_array_equal(picture.pixels, volume())
    assert picture.spacing_mm == pytest.approx(SPACING_MM)
    assert (first.split, second.split) == ("train", "test")
    assert (first.body_part, second.body_part) == ("chest", None)
    assert first.patient_id == "s0001"
    assert first.modality == "CT"
    masks = {region.label: region for region in first.regions}
    lobe = masks["lung_upper_lobe_left"]
    assert lobe.mask is not None
    assert np.argwhere(lobe.mask()).tolist() == [[1, 2, 4]]
    assert lobe.laterality == "L"


def test_only_structures_with_a_file_were_looked_for(tmp_path: Path) -> None:
    make_dataset(tmp_path)

    first, second = find_reader("totalsegmentator")(tmp_path, SPEC)

    assert first.label_space == ("liver", "left upper lobe")
    assert second.label_space == ("liver",)
    empty = next(one for one in first.regions if one.label == "liver")
    assert empty.mask is not None
    assert not empty.mask().any()


def test_mr_scans_and_left_out_structures_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text(HEADER + "s1;1;f;A;mr;val\n")
    write_nifti(tmp_path / "s1" / "mri.nii.gz", volume())
    for name in ("face", "brain"):
        ones = np.ones((3, 4, 5), np.uint8)
        write_nifti(tmp_path / "s1" / "segmentations" / f"{name}.nii.gz", ones)
    spec = make_spec("totalsegmentator", layout={"exclude": ["face"]})

    (scan,) = find_reader("totalsegmentator")(tmp_path, spec)

    assert scan.modality == "MR"
    assert [region.label for region in scan.regions] == ["brain"]


def test_composites_are_the_union_of_their_parts(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    drawn = (volume(4, (3, 4, 5)) > 0).astype(np.uint8)
    for value, name in enumerate(("rib_left_1", "rib_left_2"), start=1):
        part = (volume(value) > 400).astype(np.uint8) & drawn
        path = tmp_path / "s0001" / "segmentations" / f"{name}.nii.gz"
        write_nifti(path, part, axes="RAS")
    composites = {"left ribs": ["rib_left_*"], "left lung": ["lung_*_left", "gone"]}
    spec = make_spec("totalsegmentator", layout={"composites": composites})

    first, second = find_reader("totalsegmentator")(tmp_path, spec)

    found = {one.label: one for one in first.regions}
    assert "left lung" not in found
    ribs = found["left ribs"]
    assert ribs.mask is not None
    expected = ((volume(1) > 400) | (volume(2) > 400)) & (drawn == 1)
    np.testing.assert_array_equal(ribs.mask(), expected)
    assert ribs.laterality == "L"
    assert "left ribs" in (first.label_space or ())
    assert "left ribs" not in (second.label_space or ())


def test_what_contradicts_the_layout_is_named(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    read = find_reader("totalsegmentator")
    bad = np.full((3, 4, 5), 255, np.uint8)
    write_nifti(tmp_path / "s0002" / "segmentations" / "liver.nii.gz", bad, axes="RAS")
    small = np.zeros((3, 4, 4), np.uint8)
    write_nifti(tmp_path / "s0001" / "segmentations" / "liver.nii.gz", small)
    first, second = read(tmp_path, SPEC)
    shifted, valued = first.regions[0].mask, second.regions[0].mask
    assert shifted is not None
    assert valued is not None

    with pytest.raises(DatasetError, match=r"segmentations/liver\.nii\.gz"):
        shifted()
    with pytest.raises(DatasetError, match="unknown labels 255"):
        valued()
    (tmp_path / "s0002" / "ct.nii.gz").unlink()
    with pytest.raises(DatasetError, match="s0002"):
        list(read(tmp_path, SPEC))
    (tmp_path / "meta.csv").write_text(HEADER)
    with pytest.raises(DatasetError, match=r"meta\.csv: has no line for s0001"):
        list(read(tmp_path, SPEC))
    (tmp_path / "meta.csv").unlink()
    with pytest.raises(DatasetError, match=r"meta\.csv"):
        list(read(tmp_path, SPEC))
