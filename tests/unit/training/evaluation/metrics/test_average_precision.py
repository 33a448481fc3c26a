from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.metrics import Finding, average_precision, box_iou
from training.rle import encode_rle

_SIZES = dict.fromkeys("abcdef", (40, 40))


def _finding(picture, xyxy, *, score=1.0, category="lung"):
    mask = np.zeros((40, 40), bool)
    left, top, right, bottom = (int(edge) for edge in xyxy)
    mask[top:bottom, left:right] = True
    return Finding(picture, category, tuple(map(float, xyxy)), score, encode_rle(mask))


def test_the_truth_itself_has_precision_one():
    truth = [_finding("a", (1, 1, 9, 9)), _finding("b", (3, 3, 30, 9))]

    for kind in ("bbox", "segm"):
        assert average_precision(truth, truth, sizes=_SIZES, kind=kind).ap == 1


def test_a_better_scored_false_box_halves_the_precision():
    truth = [_finding("a", (0, 0, 10, 10))]
    found = [
        _finding("a", (20, 20, 30, 30), score=0.9),
        _finding("a", (0, 0, 10, 10), score=0.8),
    ]

    result = average_precision(found, truth, sizes=_SIZES)

    assert result.ap == result.ap50 == result.ap75 == pytest.approx(0.5)
    assert result.precision == pytest.approx(np.full(101, 0.5))


def test_an_iou_of_six_tenths_counts_at_three_of_ten_thresholds():
    truth = [_finding("a", (0, 0, 10, 10))]
    found = [_finding("a", (0, 0, 10, 6))]

    result = average_precision(found, truth, sizes=_SIZES)

    assert (result.ap50, result.ap75) == (1, 0)
    assert result.ap == pytest.approx(0.3)


def test_classes_weigh_the_same():
    truth = [_finding("a", (0, 0, 10, 10)), _finding("b", (0, 0, 9, 9), category="rib")]
    truth += [_finding(p, (0, 0, 8, 8), category="rib") for p in "cd"]

    result = average_precision(truth[:1], truth, sizes=_SIZES)

    assert result.ap == pytest.approx(0.5)
    assert result.by_category == {"lung": 1.0, "rib": 0.0}


def test_a_class_without_truth_counts_nothing():
    truth = [_finding("a", (0, 0, 10, 10))]
    found = [*truth, _finding("a", (0, 0, 5, 5), category="ghost")]

    assert average_precision(found, truth, sizes=_SIZES).ap == 1


def test_nothing_found_is_zero_and_nothing_true_is_no_number():
    truth = [_finding("a", (0, 0, 10, 10))]

    assert average_precision([], truth, sizes=_SIZES).ap == 0
    with pytest.raises(ValueError, match="one true region"):
        average_precision(truth, [], sizes=_SIZES)


def test_a_missing_mask_is_named():
    bare = [Finding("a", "lung", (0.0, 0.0, 5.0, 5.0))]

    with pytest.raises(ValueError, match="no mask"):
        average_precision(bare, bare, sizes=_SIZES, kind="segm")


def _independent_ap50(found, truth):
    """COCO's rule for one class, written again: greedy by score, 101 points."""
    taken = set()
    hits = []
    for finding in sorted(found, key=lambda f: -f.score):
        best, partner = 0.5, None
        for number, true in enumerate(truth):
            if true.picture != finding.picture or number in taken:
                continue
            iou = box_iou(np.array([finding.xyxy]), np.array([true.xyxy]))[0, 0]
            if iou >= best:
                best, partner = iou, number
        taken.add(partner)
        hits.append(partner is not None)
    good = np.cumsum(hits)
    precision = good / np.arange(1, len(hits) + 1)
    recall = good / len(truth)
    points = [
        precision[recall >= r - 1e-12].max(initial=0.0) for r in np.linspace(0, 1, 101)
    ]
    return float(np.mean(points))


def test_the_library_agrees_with_the_rule_written_again():
    rng = np.random.default_rng(3)

    def draw(count, *, near=None):
        items = []
        for number in range(count):
            if near is not None and number % 2:
                base = near[number % len(near)]
                shift = rng.integers(-3, 4, 4)
                low = np.clip(np.array(base.xyxy) + shift, 0, 40)
                picture = base.picture
            else:
                corner = rng.integers(0, 20, 2)
                low = np.concatenate([corner, corner + rng.integers(5, 20, 2)])
                picture = "abcdef"[rng.integers(6)]
            items.append(_finding(picture, low, score=float(rng.random())))
        return items

    truth = draw(12)
    found = draw(30, near=truth)

    result = average_precision(found, truth, sizes=_SIZES)

    assert 0.05 < result.ap50 < 0.95
    assert result.ap50 == pytest.approx(_independent_ap50(found, truth), abs=1e-9)
