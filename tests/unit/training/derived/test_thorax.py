from __future__ import annotations

import numpy as np
import pytest

from training.derived.thorax import pelvis_rays, thorax_rays
from training.derived.volumes import STRUCTURES, LabelledVolume


def label(name: str) -> int:
    return STRUCTURES.index(name) + 1


def make_angiogram() -> LabelledVolume:
    """Return a trunk with two lungs, a heart full of contrast medium and an airway."""
    shape = (60, 60, 90)
    image = np.full(shape, -1000.0, dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    image[:, 4:56, 4:86] = 20.0
    image[:, 48:54, 40:50] = 400.0  # the spine
    for name, columns in (("lung_right", (10, 34)), ("lung_left", (58, 82))):
        place = np.s_[15:50, 12:46, columns[0] : columns[1]]
        image[place] = -850.0
        labels[place] = label(name)
    image[20:30, 20:22, 15:17] = 300.0  # a vessel in the lung
    for name, place in (
        ("heart", np.s_[16:32, 14:34, 38:56]),
        ("aorta", np.s_[5:45, 38:46, 46:52]),
    ):
        image[place] = 350.0
        labels[place] = label(name)
    image[30:60, 22:34, 40:51] = -980.0
    image[30:33, 14:34, 38:56] = np.where(labels[30:33, 14:34, 38:56] > 0, 350.0, 20.0)
    image[34:, 22:34, 40:51] = -980.0
    return LabelledVolume(
        name="toy",
        modality="CT",
        image=image,
        labels=labels,
        spacing_mm=(2.0, 2.0, 2.0),
        label_space=frozenset(),
    )


def test_contrast_medium_is_gone_and_bone_is_kept():
    volume = make_angiogram()

    rays = thorax_rays(volume, spacing_mm=2.0)

    assert rays.image[24, 24, 46] == pytest.approx(45, abs=20)
    assert rays.image[25, 21, 16] < 100
    assert rays.image[30, 51, 45] == 400


def test_lungs_heart_and_airway_are_told_apart():
    rays = thorax_rays(make_angiogram(), spacing_mm=2.0)

    def at(z, y, x):
        value = int(rays.labels[z, y, x])
        return rays.structures[value - 1] if value else None

    assert at(40, 30, 20) == "lung_right"
    assert at(40, 30, 70) == "lung_left"
    assert at(24, 24, 46) == "heart"
    assert at(45, 28, 45) == "trachea"
    assert at(25, 21, 16) == "lung_right"  # vessels belong to the lung


def test_the_chest_encloses_the_heart_and_what_lies_below_the_lungs():
    rays = thorax_rays(make_angiogram(), spacing_mm=2.0)

    assert rays.chest is not None
    assert rays.chest[24, 24, 46]
    assert rays.chest[5, 30, 20]
    assert not rays.chest[55, 30, 20]
    assert not rays.chest[24, 30, 6]


def test_the_aorta_ends_with_the_lungs():
    rays = thorax_rays(make_angiogram(), spacing_mm=2.0)
    aorta = rays.labels == rays.structures.index("aorta") + 1

    assert aorta[20:40].any()
    assert not aorta[:14].any()


def test_voxels_become_cubes_of_the_wanted_size():
    rays = thorax_rays(make_angiogram(), spacing_mm=4.0)

    assert rays.image.shape == (30, 30, 45)
    assert rays.labels.shape == rays.image.shape
    assert rays.heart_zyx == pytest.approx((12, 12, 23), abs=1.5)


def test_a_pelvis_shows_bones_and_counts_the_first_sacral_vertebra_to_the_sacrum():
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[2:4], labels[6:8] = label("vertebrae_S1"), label("hip_left")
    labels[10:12] = label("liver")
    image = np.zeros(labels.shape, dtype=np.float32)
    volume = LabelledVolume("toy", "CT", image, labels, (3.0, 3.0, 3.0), frozenset())

    rays = pelvis_rays(volume)

    names = {rays.structures[v - 1] for v in np.unique(rays.labels) if v}
    assert names == {"sacrum", "hip_left"}
    assert rays.chest is None
