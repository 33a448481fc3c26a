"""BraTS cases come out alike under old names and new ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders.volume_files import make_spec, volume, write_nifti
from training.errors import DatasetError
from training.readers import find_reader

SPEC = make_spec("brats", modality="MR", label_map={"WT": "brain tumour"})
NEW = {"t1": "-t1n", "t1c": "-t1c", "t2": "-t2w", "flair": "-t2f"}
OLD = {"t1": "_t1", "t1c": "_t1ce", "t2": "_t2", "flair": "_flair"}


def make_case(
    root: Path,
    case: str,
    names: dict[str, str],
    *,
    enhancing: int,
    ending: str = ".nii.gz",
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    drawn = (volume(3) % 4).astype(np.uint8)
    labels = np.where(drawn == 3, enhancing, drawn).astype(np.uint8)
    for seed, name in enumerate(names.values()):
        write_nifti(root / case / f"{case}{name}{ending}", volume(seed), axes="LPS")
    mark = names["t1"][0]
    write_nifti(root / case / f"{case}{mark}seg{ending}", labels, axes="LPS")
    return labels


@pytest.mark.parametrize(
    ("case", "names", "enhancing", "patient", "ending"),
    [
        ("BraTS-GLI-00012-001", NEW, 3, "BraTS-GLI-00012", ".nii.gz"),
        ("BraTS2021_00012", OLD, 4, "BraTS2021_00012", ".nii.gz"),
        ("BraTS20_Training_001", OLD, 4, "BraTS20_Training_001", ".nii"),
    ],
)
def test_sequences_and_composites_of_every_year(
    case: str,
    names: dict[str, str],
    enhancing: int,
    patient: str,
    ending: str,
    tmp_path: Path,
) -> None:
    labels = make_case(
        tmp_path / "Training", case, names, enhancing=enhancing, ending=ending
    )

    images = list(find_reader("brats")(tmp_path, SPEC))

    assert [one.view for one in images] == ["T1", "T1CE", "T2", "FLAIR"]
    assert {one.patient_id for one in images} == {patient}
    assert {one.modality for one in images} == {"MR"}
    for seed, image in enumerate(images):
        np.testing.assert_array_equal(image.load().pixels, volume(seed))
    expected = {
        "NCR": labels == 1,
        "ED": labels == 2,
        "ET": labels == enhancing,
        "TC": (labels == 1) | (labels == enhancing),
        "WT": labels > 0,
    }
    for image in images:
        found = {one.label: one.mask() for one in image.regions if one.mask}
        assert found.keys() == expected.keys()
        for label, mask in expected.items():
            np.testing.assert_array_equal(found[label], mask)
        assert image.label_space == ("NCR", "ED", "ET", "TC", "brain tumour")


def test_values_of_another_year_are_refused(tmp_path: Path) -> None:
    make_case(tmp_path, "BraTS-GLI-00012-000", NEW, enhancing=4)
    image = next(iter(find_reader("brats")(tmp_path, SPEC)))
    mask = image.regions[0].mask
    assert mask is not None

    with pytest.raises(DatasetError, match=r"000-seg\.nii\.gz: holds unknown labels 4"):
        mask()

    spec = make_spec("brats", layout={"enhancing": 4, "sequences": ["t2"]})
    (only,) = find_reader("brats")(tmp_path, spec)
    assert only.regions[2].mask is not None
    assert only.regions[2].mask().any()


def test_a_case_without_a_file_is_named(tmp_path: Path) -> None:
    make_case(tmp_path, "BraTS2021_00012", OLD, enhancing=4)
    (tmp_path / "BraTS2021_00012" / "BraTS2021_00012_t2.nii.gz").unlink()
    with pytest.raises(DatasetError, match="BraTS2021_00012_t2 is not there"):
        list(find_reader("brats")(tmp_path, SPEC))
    (tmp_path / "BraTS2021_00012" / "BraTS2021_00012_seg.nii.gz").unlink()
    with pytest.raises(DatasetError, match="BraTS2021_00012_seg is not there"):
        list(find_reader("brats")(tmp_path, SPEC))
    with pytest.raises(DatasetError, match="no sequence t9"):
        list(
            find_reader("brats")(
                tmp_path, make_spec("brats", layout={"sequences": ["t9"]})
            )
        )
