from __future__ import annotations

import numpy as np
import pytest

from tests.builders.judged_cases import answer_with, make_case, nothing, square
from training.errors import DatasetError
from training.evaluation.judge import judge

_TRUE = square((4, 4, 14, 14))


def _judged(case, answer, **options):
    truth = next(t for t in case.truths if t.phrase == answer.phrase)
    return judge(case, truth, answer=answer, **options)


def test_a_perfect_answer_is_perfect_in_every_measure():
    row = _judged(make_case(masks={"lung": _TRUE}), answer_with("lung", _TRUE)).row

    assert row.dice == row.iou == row.nsd == row.top_iou == row.set_iou == 1
    assert (row.pieces_paired, row.pieces_predicted, row.pieces_true) == (1, 1, 1)
    assert row.hit_rank == 1
    assert row.is_exact
    assert row.places_entailed
    assert row.truth_entailed
    assert row.error == 0


def test_half_a_region_is_measured_as_half():
    half = square((4, 4, 14, 9))

    row = _judged(make_case(masks={"lung": _TRUE}), answer_with("lung", half)).row

    assert row.dice == pytest.approx(2 * 50 / 150)
    assert row.iou == row.top_iou == row.set_iou == pytest.approx(0.5)
    assert row.is_placed
    assert row.places_entailed
    assert not row.truth_entailed  # exactly half is not more than half


def test_a_missed_phrase_counts_nothing_everywhere():
    row = _judged(make_case(masks={"lung": _TRUE}), nothing("lung")).row

    assert row.dice == row.iou == row.nsd == row.top_iou == row.set_iou == 0
    assert (row.pieces_predicted, row.pieces_true) == (0, 1)
    assert row.hit_rank is None
    assert row.places_entailed is None
    assert row.truth_entailed is False
    assert not row.is_exact


def test_an_absent_phrase_has_no_overlap_to_measure():
    case = make_case(masks={}, absent=["mass"])

    right, wrong = (
        _judged(case, answer).row
        for answer in (nothing("mass"), answer_with("mass", _TRUE))
    )

    assert right.dice is wrong.dice is right.error is None
    assert right.is_exact
    assert not wrong.is_exact
    assert wrong.places_entailed is False
    assert wrong.pieces_predicted == 1


def test_a_volume_is_measured_with_its_real_spacing():
    truth = square((4, 4, 14, 14), shape=(5, 32, 32))
    found = np.roll(truth, 1, axis=1)

    rows = [
        _judged(
            make_case(masks={"liver": truth}, spacing_mm=spacing, is_volume=True),
            answer_with("liver", found),
        ).row
        for spacing in ((2.0, 0.9, 0.9), (2.0, 3.0, 0.9))
    ]

    assert rows[0].volume_ml == pytest.approx(500 * 2 * 0.81 / 1000)
    assert rows[0].nsd == 1  # off by 0.9 mm
    assert rows[1].nsd < 1  # off by 3 mm


def test_an_unknown_spacing_leaves_surface_distance_out():
    case = make_case(masks={"lung": _TRUE}, spacing_mm=None)

    assert _judged(case, answer_with("lung", _TRUE)).row.nsd is None


def test_pieces_of_separate_pictures_are_never_joined():
    truth = square((4, 4, 14, 14), shape=(3, 32, 32))

    volume, pictures = (
        _judged(
            make_case(masks={"lung": truth}, is_volume=is_volume),
            answer_with("lung", truth),
        ).row.pieces_true
        for is_volume in (True, False)
    )

    assert (volume, pictures) == (1, 3)


def test_the_peak_of_a_heat_map_is_judged_on_single_pictures():
    case = make_case(masks={"lung": _TRUE})
    heat = np.random.default_rng(0).random((1, 32, 32))
    heat[0, 5, 5] = 2

    row = _judged(case, answer_with("lung", _TRUE), heat=heat).row

    assert row.points_inside is True
    assert row.cnr == pytest.approx(0, abs=0.2)


def test_findings_keep_the_part_of_the_mask_in_their_box():
    two = square((4, 4, 14, 14), (20, 20, 26, 28))

    judgement = _judged(make_case(masks={"lung": two}), answer_with("lung", two))

    assert len(judgement.found) == len(judgement.truth) == 2
    assert judgement.found[0].mask.counts != judgement.found[1].mask.counts
    assert set(judgement.sizes.values()) == {(32, 32)}


def test_a_true_mask_on_another_grid_is_refused():
    case = make_case(masks={"lung": _TRUE})
    wrong = make_case(masks={"lung": square((1, 1, 3, 3), shape=(1, 8, 8))})

    with pytest.raises(DatasetError, match="grid"):
        judge(case, wrong.truths[0], answer=nothing("lung"))
