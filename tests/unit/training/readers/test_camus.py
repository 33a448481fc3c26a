"""CAMUS pictures are taken as stored, from either release."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from tests.builders.volume_files import make_spec
from training.errors import DatasetError
from training.readers import find_reader

ROWS, COLUMNS = 6, 4
SPEC = make_spec("camus", modality="US")


def picture(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    drawn = np.random.default_rng(seed).integers(0, 255, (ROWS, COLUMNS))
    return drawn.astype(np.uint8)


def write(
    path: Path, frames: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> None:
    """Write frames as either release does: pixels 0.3 mm wide and 0.15 mm high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.stack(frames)
    if path.suffix == ".mhd":
        image = SimpleITK.GetImageFromArray(stack)
        image.SetSpacing((0.3, 0.15, 1.0))
        SimpleITK.WriteImage(image, str(path))
        return
    affine = np.diag([-0.3, -0.15, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(stack.T, affine), path)


def make_patient(root: Path, number: int, ending: str, *, frames: int = 1) -> Path:
    name = f"patient{number:04}"
    for view in ("2CH", "4CH"):
        moments = ("ED", "ES") if frames == 1 else ("half_sequence",)
        for moment in moments:
            base = root / name / f"{name}_{view}_{moment}"
            stack = [picture(number + n) for n in range(frames)]
            write(base.with_name(base.name + ending), stack)
            labels = [one % 4 for one in stack]
            write(base.with_name(base.name + f"_gt{ending}"), labels)
    (root / name / "Info_2CH.cfg").write_text("ED: 1\nES: 18\n")
    return root / name


@pytest.mark.parametrize("ending", [".nii.gz", ".mhd"])
def test_ends_of_the_heartbeat_are_outlined_pictures(
    ending: str, tmp_path: Path
) -> None:
    make_patient(tmp_path / "database_nifti", 1, ending)

    images = list(find_reader("camus")(tmp_path, SPEC))

    assert [one.image_id for one in images] == [
        f"patient0001_{view}_{moment}"
        for view in ("2CH", "4CH")
        for moment in ("ED", "ES")
    ]
    first = images[0]
    loaded = first.load()
    np.testing.assert_array_equal(loaded.pixels, picture(1))
    assert loaded.spacing_mm == pytest.approx((0, 0.15, 0.3))
    assert not loaded.is_volume
    assert (first.modality, first.view, first.patient_id) == (
        "US",
        "2CH",
        "patient0001",
    )
    for value, region in enumerate(first.regions, start=1):
        assert region.mask is not None
        np.testing.assert_array_equal(region.mask(), picture(1) % 4 == value)
    assert first.label_space == (
        "left ventricle cavity",
        "left ventricle myocardium",
        "left atrium",
    )


def test_half_sequences_are_read_frame_by_frame(tmp_path: Path) -> None:
    make_patient(tmp_path, 1, ".nii.gz", frames=3)
    make_patient(tmp_path, 1, ".nii.gz")
    spec = make_spec("camus", layout={"sequences": True})

    images = list(find_reader("camus")(tmp_path, spec))

    assert len(images) == 6
    third = images[2]
    assert third.image_id == "patient0001_2CH_half_sequence/2"
    np.testing.assert_array_equal(third.load().pixels, picture(3))
    assert third.regions[1].mask is not None
    np.testing.assert_array_equal(third.regions[1].mask(), picture(3) % 4 == 2)


def test_official_lists_give_the_splits(tmp_path: Path) -> None:
    make_patient(tmp_path, 1, ".nii.gz")
    make_patient(tmp_path, 2, ".nii.gz")
    lists = tmp_path / "database_split"
    lists.mkdir()
    (lists / "subgroup_training.txt").write_text("patient0002\n")
    (lists / "subgroup_validation.txt").write_text("")
    (lists / "subgroup_testing.txt").write_text("patient0001\n")
    spec = make_spec("camus", layout={"splits": "database_split"})

    images = list(find_reader("camus")(tmp_path, spec))

    assert [one.split for one in images] == ["test"] * 4 + ["train"] * 4
    (lists / "subgroup_testing.txt").unlink()
    with pytest.raises(DatasetError, match=r"subgroup_testing\.txt"):
        list(find_reader("camus")(tmp_path, spec))


def test_pictures_without_matching_outlines_are_named(tmp_path: Path) -> None:
    folder = make_patient(tmp_path, 1, ".nii.gz")
    write(folder / "patient0001_2CH_ED_gt.nii.gz", [picture(1)[:-1] % 4])
    image = next(iter(find_reader("camus")(tmp_path, SPEC)))
    assert image.regions[0].mask is not None

    with pytest.raises(DatasetError, match=r"patient0001_2CH_ED_gt\.nii\.gz"):
        image.regions[0].mask()
    (folder / "patient0001_2CH_ED_gt.nii.gz").unlink()
    with pytest.raises(DatasetError, match="patient0001_2CH_ED_gt is not there"):
        list(find_reader("camus")(tmp_path, SPEC))
