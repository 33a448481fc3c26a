from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.builders.toy_rays import make_chest, straight
from training.derived.bank import BankPlan, load_bank, outline
from training.derived.project import project
from training.derived.thorax import RayVolume

CHEST = make_chest()
PLAN = BankPlan("toy", "frontal", 3, 5)


def never() -> RayVolume:
    raise AssertionError("projected again")


def test_a_lung_is_outlined_beside_the_heart_and_above_the_abdomen():
    shot = project(CHEST, straight())

    left, right, heart = outline(shot, view="frontal")

    assert left.any()
    assert right.any()
    assert not (left & right).any()
    middle_of_heart = np.s_[:, 28]
    assert heart[middle_of_heart].any()
    assert not (left[middle_of_heart] & heart[middle_of_heart]).any()
    hidden = shot.paths_mm[1] > 0
    deepest = np.nonzero(hidden.any(axis=1))[0].max()
    lowest = np.nonzero(right.any(axis=1))[0].max()
    assert (deepest - lowest) * shot.pixel_mm == pytest.approx(28, abs=9)


def test_in_a_lateral_view_both_lungs_are_one():
    shot = project(CHEST, straight("lateral"))

    lungs, none, _ = outline(shot, view="lateral")

    assert lungs.any()
    assert not none.any()


def test_a_bank_is_projected_once_and_read_back_the_same(tmp_path):
    first = load_bank(PLAN, lambda: CHEST, folder=tmp_path)

    second = load_bank(PLAN, never, folder=tmp_path)

    assert len(second) == 3
    assert second.structures == CHEST.structures
    assert second.pixel_mm == CHEST.spacing_mm
    for number in range(3):
        for one, other in zip(first.read(number), second.read(number), strict=True):
            assert np.array_equal(one, other)
        assert np.array_equal(first.mask(number, 2), second.mask(number, 2))
    assert first.mask(0, 0).any()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


@pytest.mark.parametrize("change", [{"seed": 6}, {"count": 2}, {"view": "lateral"}])
def test_another_plan_is_another_bank(tmp_path, change):
    load_bank(PLAN, lambda: CHEST, folder=tmp_path)

    with pytest.raises(AssertionError, match="projected again"):
        load_bank(replace(PLAN, **change), never, folder=tmp_path)


def test_lengths_are_stored_to_a_sixteenth_of_a_millimetre(tmp_path):
    plan = replace(PLAN, count=1)
    bank = load_bank(plan, lambda: CHEST, folder=tmp_path)

    soft, _ = bank.read(0)

    assert np.allclose(soft * 16, np.round(soft * 16))
    assert soft.max() > 100
