"""Volumes come out in canonical axes whatever their files say of orientation."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.imaging.canonical import CanonicalGrid
from dicom_node.records import FrameReference, ImageSeries
from training.derived.volumes import load_canonical
from training.errors import DatasetError
from training.readers.label_maps import label_mask, load_labels, side_of
from training.readers.volumes import (
    check_same_grid,
    load_picture,
    open_volume,
)

ORIENTATIONS = [
    (axes, flips)
    for axes in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]
SPACING = (4.0, 0.8, 0.5)
"""Between canonical slices, rows and columns."""


def canonical(seed: int = 0) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.random.default_rng(seed).integers(-1000, 1000, (3, 4, 5)).astype(np.int16)


def stored(
    array: np.ndarray[Any, Any], axes: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.float64]]]:
    """Permute and flip a canonical array; return it with the affine that says so."""
    # Canonical (S, P, L) in RAS: the columns of this matrix.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = SPACING[0], -SPACING[1], -SPACING[2]
    affine[:, 3] = (11, -7, 3, 1)
    moved = array.transpose(axes)
    affine[:, :3] = affine[:, list(axes)]
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:, 3] += affine[:, axis] * (moved.shape[axis] - 1)
            affine[:, axis] *= -1
    return moved[tuple(slice(None, None, flip) for flip in flips)], affine


def write_nifti(path: Path, array: np.ndarray[Any, Any], affine: Any) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), affine), path)
    return path


@pytest.mark.parametrize(
    ("axes", "flips", "ending"),
    [(*one, ".nii") for one in ORIENTATIONS]
    + [
        (*one, end) for end in (".nii.gz", ".mha", ".nrrd") for one in ORIENTATIONS[::9]
    ],
)
def test_any_permutation_and_flip_comes_back_canonical(
    axes: tuple[int, ...], flips: tuple[int, ...], ending: str, tmp_path: Path
) -> None:
    array, affine = stored(canonical(), axes, flips)
    path = write_nifti(tmp_path / "a.nii", array, affine)
    if ending != ".nii":
        image = SimpleITK.ReadImage(str(path))
        path = tmp_path / f"b{ending}"
        SimpleITK.WriteImage(image, str(path))

    picture = load_picture(open_volume(path))

    np.testing.assert_array_equal(picture.pixels, canonical())
    assert picture.spacing_mm == pytest.approx(SPACING)
    assert picture.is_volume


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::5])
def test_three_readers_agree_about_orientation(
    axes: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path
) -> None:
    array, affine = stored(canonical(), axes, flips)
    path = write_nifti(tmp_path / "a.nii.gz", array, affine)

    ours = load_picture(open_volume(path))

    training, spacing = load_canonical(path)
    np.testing.assert_array_equal(ours.pixels, training)
    assert ours.spacing_mm == pytest.approx(spacing)
    itk = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
    np.testing.assert_array_equal(ours.pixels, SimpleITK.GetArrayFromImage(itk))


@given(
    angles=st.tuples(*(st.floats(-0.35, 0.35) for _ in range(3))),
    turn=st.sampled_from(ORIENTATIONS),
)
@settings(max_examples=40, deadline=None)
def test_an_oblique_volume_turns_as_the_node_turns_it(
    angles: tuple[float, float, float],
    turn: tuple[tuple[int, ...], tuple[int, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    array, affine = stored(canonical(), *turn)
    x, y, z = angles
    rotation = np.eye(4)
    rotation[:3, :3] = (
        np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        @ np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        @ np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    )
    affine = rotation @ affine
    path = write_nifti(tmp_path_factory.mktemp("o") / "a.nii", array, affine)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    frames = tuple(FrameReference("1", "1", n, path) for n in range(array.shape[0]))
    series = ImageSeries(
        "1", "1", "CT", None, frames, array.shape[1], array.shape[2],
        is_colour=False, pixel_spacing_mm=None, affine_lps=lps,
        frame_of_reference_uid=None,
    )  # fmt: skip

    ours = open_volume(path).read()

    np.testing.assert_array_equal(ours, CanonicalGrid.of(series).apply(array))


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::7])
def test_a_mask_follows_its_image(
    axes: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path
) -> None:
    labels = (canonical(3) % 4).astype(np.uint8)
    image = open_volume(
        write_nifti(tmp_path / "i.nii.gz", *stored(canonical(), axes, flips))
    )
    maps = open_volume(write_nifti(tmp_path / "l.nii.gz", *stored(labels, axes, flips)))

    mask = label_mask(maps, [1, 3], image=image)()

    np.testing.assert_array_equal(mask, (labels == 1) | (labels == 3))
    assert mask.dtype == np.bool_
    assert mask.shape == image.canonical_shape == load_picture(image).pixels.shape


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_channels_are_found_before_or_after_the_axes(
    channels_first: bool, ending: str, tmp_path: Path
) -> None:
    both = [canonical(1), canonical(2)]
    turned = [stored(one, (2, 1, 0), (-1, -1, 1)) for one in both]
    array = np.stack([one for one, _ in turned], axis=0 if channels_first else -1)
    path = write_nifti(tmp_path / f"a{ending}", array, turned[0][1])

    volume = open_volume(path, channels_first=channels_first)

    assert volume.channels == 2
    for index, expected in enumerate(both):
        np.testing.assert_array_equal(volume.read(index), expected)
    with pytest.raises(DatasetError, match=r"a\.nii"):
        volume.read(2)
    with pytest.raises(DatasetError, match=r"a\.nii"):
        volume.read()


def test_components_of_a_vector_image_are_channels(tmp_path: Path) -> None:
    both = np.stack([canonical(1), canonical(2)], axis=-1)
    image = SimpleITK.GetImageFromArray(both, isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))

    volume = open_volume(tmp_path / "a.mha")

    assert volume.channels == 2
    np.testing.assert_array_equal(volume.read(1), canonical(2))


def test_scaled_values_are_single_precision(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(canonical().transpose(2, 1, 0), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "a.nii")
    expected = nibabel.load(tmp_path / "a.nii").get_fdata()

    found = open_volume(tmp_path / "a.nii").read()

    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, ::-1, ::-1].T, expected)


def test_a_plane_of_pictures_is_taken_as_stored(tmp_path: Path) -> None:
    frames = np.arange(24).reshape(2, 3, 4)  # (frames, rows, columns)
    affine = np.diag([-0.3, -0.15, 1.0, 1.0])
    path = write_nifti(tmp_path / "a.nii.gz", frames.T.astype(np.uint8), affine)

    picture = load_picture(open_volume(path), channel=1, single=True)

    np.testing.assert_array_equal(picture.pixels, frames[1])
    assert picture.spacing_mm == pytest.approx((0, 0.15, 0.3))
    assert not picture.is_volume
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(picture.pixels, itk[1])


def test_labels_elsewhere_in_the_patient_are_refused(tmp_path: Path) -> None:
    array, affine = stored(canonical(), (2, 1, 0), (1, 1, 1))
    image = open_volume(write_nifti(tmp_path / "i.nii", array, affine))
    affine[0, 3] += 0.4
    moved = open_volume(write_nifti(tmp_path / "moved.nii", array * 0, affine))
    small = open_volume(write_nifti(tmp_path / "small.nii", array[:-1] * 0, affine))

    with pytest.raises(DatasetError, match=r"moved\.nii.*0\.40 mm.*i\.nii"):
        check_same_grid(image, moved)
    with pytest.raises(DatasetError, match=r"small\.nii.*shape"):
        label_mask(small, [1], image=image)()


def test_a_mirrored_header_on_labels_is_refused(tmp_path: Path) -> None:
    array, affine = stored(canonical(), (2, 1, 0), (1, 1, 1))
    image = open_volume(write_nifti(tmp_path / "i.nii", array, affine))
    mirrored = affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    labels = open_volume(write_nifti(tmp_path / "l.nii", array * 0, mirrored))

    with pytest.raises(DatasetError, match=r"l\.nii"):
        check_same_grid(image, labels)


def test_labels_must_be_known_whole_numbers(tmp_path: Path) -> None:
    whole = np.zeros((2, 2, 2), np.float32)
    whole[0, 0, 0] = 4
    maps = open_volume(write_nifti(tmp_path / "four.nii", whole, np.eye(4)))
    broken = open_volume(write_nifti(tmp_path / "half.nii", whole / 8, np.eye(4)))

    assert label_mask(maps, [4], known=[4])().sum() == 1
    with pytest.raises(DatasetError, match=r"four\.nii: holds unknown labels 4"):
        label_mask(maps, [3], known=[1, 2, 3])()
    with pytest.raises(DatasetError, match=r"half\.nii.*whole"):
        label_mask(broken, [1])()


def test_one_label_map_is_remembered_until_its_file_changes(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", np.ones((2, 2, 2), np.uint8), np.eye(4))
    first = load_labels(open_volume(path))

    again = load_labels(open_volume(path))
    write_nifti(path, np.full((2, 2, 2), 2, np.uint8), np.eye(4))
    changed = load_labels(open_volume(path))

    assert again is first
    assert changed.values == {2}


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mhd", "a.nrrd"])
@pytest.mark.parametrize("content", [b"", b"not a volume" * 50])
def test_a_broken_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DatasetError, match=name):
        open_volume(tmp_path / name)
    with pytest.raises(DatasetError, match="missing"):
        open_volume(tmp_path / "missing.nii")


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write_nifti(
        tmp_path / "a.nii.gz", *stored(canonical(), (0, 1, 2), (1, 1, 1))
    )
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(DatasetError, match=r"a\.nii\.gz"):
        open_volume(path).read()


@pytest.mark.parametrize(
    ("label", "side"),
    [
        ("lung_upper_lobe_left", "L"),
        ("right kidney", "R"),
        ("left-right shunt", None),
        ("brightness", None),
    ],
)
def test_a_side_is_a_word_of_its_own(label: str, side: str | None) -> None:
    assert side_of(label) == side
