from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as st_numpy
from scipy import ndimage

from training.evaluation.metrics import InstanceCounts, count_instances, dice


def _line(*spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((1, 1, 30), bool)
    for first, last in spans:
        mask[..., first:last] = True
    return mask


def test_two_of_three_pieces_are_found_with_one_false_alarm():
    truth = _line((0, 5), (10, 15), (20, 25))
    found = _line((1, 5), (10, 14), (27, 30))

    counts = count_instances(found, truth)

    assert counts == InstanceCounts(paired=2, predicted=3, true=3)
    assert counts.precision == counts.recall == counts.f1 == pytest.approx(2 / 3)


def test_a_piece_is_found_exactly_from_dice_a_fifth_on():
    truth = _line((0, 9))

    assert count_instances(_line((8, 9)), truth).paired == 1  # Dice 2/10
    assert count_instances(_line((8, 10)), truth).paired == 0  # Dice 2/11


def test_one_blob_over_two_pieces_counts_once():
    counts = count_instances(_line((0, 12)), _line((0, 5), (7, 12)))

    assert counts == InstanceCounts(paired=1, predicted=1, true=2)


def test_nothing_predicted_has_no_precision():
    counts = count_instances(_line(), _line((0, 3)))

    assert np.isnan(counts.precision)
    assert counts.recall == counts.f1 == 0


def test_nothing_at_all_has_no_measure():
    counts = count_instances(_line(), _line())

    assert np.isnan([counts.precision, counts.recall, counts.f1]).all()


_PLANES = st_numpy.arrays(bool, (5, 6))


@settings(deadline=None, max_examples=60)
@given(_PLANES, _PLANES)
def test_no_pairing_finds_more(found, truth):
    pieces = []
    for mask in (found, truth):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        pieces.append([labels == i + 1 for i in range(count)])
    ours, theirs = sorted(pieces, key=len)
    best = max(
        sum(dice(piece, theirs[i]) >= 0.2 for piece, i in zip(ours, order, strict=True))
        for order in permutations(range(len(theirs)), len(ours))
    )

    assert count_instances(found, truth).paired == best
