from __future__ import annotations

import numpy as np
import pytest

from tests.builders.judged_cases import answer_with, make_case, nothing, square
from training.evaluation.aggregate import aggregate
from training.evaluation.average import precision_of, resampled_precision
from training.evaluation.boxwise import verdicts
from training.evaluation.judge import judge
from training.evaluation.metrics import METRICS

_TRUE = square((4, 4, 14, 14))
_HALF = square((4, 4, 14, 9))
_OFF = square((18, 18, 24, 24))


def _judgements():
    """Patient a: perfect and half right; b: a miss, a false and a true absence."""
    first = make_case("1", patient="a", masks={"lung": _TRUE, "heart": _TRUE})
    second = make_case("2", patient="b", masks={"lung": _TRUE}, absent=["mass", "rib"])
    answers = [
        (first, answer_with("lung", _TRUE, score=0.95, uncertainty=0.05)),
        (first, answer_with("heart", _HALF, score=0.8, uncertainty=0.4)),
        (second, nothing("lung", score=0.3)),
        (second, answer_with("mass", _OFF, score=0.6, uncertainty=0.5)),
        (second, nothing("rib", score=0.1)),
    ]
    return [
        judge(case, next(t for t in case.truths if t.phrase == a.phrase), answer=a)
        for case, a in answers
    ]


def _values(judgements, **options):
    return {value.name: value for value in aggregate(judgements, **options)}


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("Dice", (1 + 2 / 3 + 0) / 3, 3),
        ("Dice, empty rule", (1 + 2 / 3 + 0 + 0 + 1) / 5, 5),
        ("Mask IoU", 0.5, 3),
        ("HIT", 2 / 3, 3),
        ("Acc@0.1", 2 / 3, 3),
        ("Acc@0.5", 2 / 3, 3),
        ("Acc@0.7", 1 / 3, 3),
        ("Box mIoU", 0.5, 3),
        ("Set IoU", 0.5, 3),
        ("R@1", 2 / 3, 3),
        ("Pr@(F1=1)", 3 / 5, 5),
        ("Spatial precision", 2 / 3, 3),
        ("Spatial recall", 1 / 3, 3),
        ("Grounding precision", 1, 2),
        ("Grounding recall", 1 / 2, 2),
        ("Sensitivity", 2 / 3, 3),
        ("No-target accuracy", 1 / 2, 2),
        ("AUROC", 5 / 6, 5),
        ("Brier", (0.05**2 + 0.2**2 + 0.7**2 + 0.6**2 + 0.1**2) / 5, 5),
        ("Instance precision", 2 / 3, 5),
        ("Instance recall", 2 / 3, 5),
        ("Instance F1", 2 / 3, 5),
        ("AURC", (0 + (0 + 1 / 3) / 2) / 2, 2),
        ("Uncertainty-error rank correlation", 1, 2),
    ],
)
def test_known_answers_have_known_metrics(name, value, n):
    found = _values(_judgements(), names=[name])[name]

    assert found.value == pytest.approx(value)
    assert found.n == n
    assert found.name in METRICS


def test_every_metric_but_those_of_heat_maps_applies():
    missing = set(METRICS) - set(_values(_judgements()))

    assert missing == {"Pointing game", "CNR", "CNR absolute"}


def test_pointing_counts_classes_alike():
    heat = np.zeros((1, 32, 32))
    heat[0, 5, 5] = 1
    judgements = []
    for number, mask in enumerate((_TRUE, _TRUE, _TRUE, _OFF)):
        label = "lung" if number < 3 else "heart"
        case = make_case(str(number), masks={label: mask})
        answer = answer_with(label, mask)
        judgements.append(judge(case, case.truths[0], answer=answer, heat=heat))

    # Three hits of one class and one miss of the other: the classes weigh the same.
    assert _values(judgements)["Pointing game"].value == 0.5


def test_one_patient_alone_has_no_interval():
    judgements = _judgements()

    both, one = (
        _values(chosen, names=["Dice"])["Dice"]
        for chosen in (judgements, judgements[:2])
    )

    assert both.interval is not None
    assert both.interval.low == 0
    assert both.interval.high == pytest.approx(5 / 6)
    assert both.patients == 2
    assert one.interval is None


def test_average_precision_has_an_interval_too():
    found = _values(_judgements(), names=["Box mAP50", "Mask mAP50"])

    # Heart 1, lung half: one of two found.
    assert found["Box mAP50"].value == pytest.approx((1 + 51 / 101) / 2)
    assert found["Box mAP50"].n == 3
    assert found["Box mAP50"].interval.low == 0
    assert found["Box mAP50"].interval.high == 1
    assert found["Mask mAP50"].value == pytest.approx(found["Box mAP50"].value)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_our_resampled_precision_is_coco_s_when_all_weigh_one(kind):
    rng = np.random.default_rng(0)
    judgements = []
    for number in range(25):
        corners = rng.integers(0, 18, (2, 2))
        mask = square(*((*c, *(c + rng.integers(4, 12, 2))) for c in corners))
        label = ("lung", "heart")[number % 2]
        case = make_case(str(number), masks={label: mask})
        moved = np.roll(mask, rng.integers(-2, 3, 2), axis=(1, 2))
        answer = answer_with(label, moved, score=float(rng.random()))
        judgements.append(judge(case, case.truths[0], answer=answer))

    ours = resampled_precision(verdicts(judgements, kind=kind), lambda patient: 1.0)

    theirs = precision_of(judgements, kind)
    assert 0.05 < theirs.ap < 0.95
    assert ours == pytest.approx([theirs.ap, theirs.ap50, theirs.ap75])


def test_an_unknown_metric_is_named():
    with pytest.raises(KeyError, match="accuracy"):
        aggregate(_judgements(), names=["accuracy"])
