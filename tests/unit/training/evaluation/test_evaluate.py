from __future__ import annotations

import json

import numpy as np
import pytest

from tests.builders.judged_cases import (
    ScriptedModel,
    answer_with,
    make_case,
    nothing,
    square,
)
from training.errors import DatasetError
from training.evaluation.evaluate import evaluate_cases
from training.evaluation.report import write_results
from training.evaluation.robustness import CorruptionPlan

_TRUE = square((4, 4, 14, 14))


def _brightness(stack, phrase):
    """Mark what is bright; a phrase of absence is honoured."""
    mask = stack.pixels > 0.5
    if phrase == "mass" or not mask.any():
        return nothing(phrase)
    return answer_with(phrase, mask)


def _cases(count=3):
    for number in range(count):
        yield make_case(
            f"case{number}",
            patient=f"p{number // 2}",
            masks={"lung": square((4, 4 + number, 14, 14 + number))},
            absent=["mass"],
            note="labels are toys",
        )


def test_cases_are_read_one_by_one_and_asked_once():
    model = ScriptedModel(_brightness)

    report = evaluate_cases(model, _cases())

    assert model.asked == [("lung", "mass")] * 3
    assert report.cases == ("case0", "case1", "case2")
    assert report.patients == 2
    assert report.value("Dice") == report.value("AUROC") == 1
    assert report.value("No-target accuracy") == 1
    assert report.notes == ("toys: labels are toys",)


def test_heat_maps_are_asked_of_single_pictures_only():
    asked = []

    def heat(stack, phrases):
        asked.append(phrases)
        return [stack.pixels] * len(phrases)

    volume = make_case(
        "volume", masks={"liver": square((4, 4, 9, 9), shape=(3, 32, 32))}
    )
    cases = [*_cases(1), volume]

    report = evaluate_cases(ScriptedModel(_brightness), cases, heat=heat)

    assert asked == [("lung", "mass")]
    assert report.value("Pointing game") == 1
    assert report.value("CNR") > 3


def test_datasets_and_modalities_are_told_apart():
    other = make_case("x", masks={"lung": _TRUE}, dataset="others", modality="MR")

    report = evaluate_cases(ScriptedModel(_brightness), [*_cases(1), other])

    assert set(report.groups) == {
        "dataset others",
        "dataset toys",
        "modality DX",
        "modality MR",
    }
    assert report.categories["lung"]["present"] == 2
    assert report.categories["mass"] == {
        "present": 0,
        "absent": 1,
        "patients": 1,
        "called absent": 1,
    }


def test_spoiled_pictures_cost_overlap():
    def fading(stack, phrase):
        clean = stack.pixels.max() < 1.6
        part = _TRUE if clean else square((4, 4, 14, 9))
        return answer_with(phrase, part)

    case = make_case(masks={"lung": _TRUE})
    plan = CorruptionPlan(severities=(5,), names=("brightness", "gaussian noise"))

    report = evaluate_cases(ScriptedModel(fading), [case], corruptions=plan)

    noise = next(r for r in report.spoiled if r.corruption == "gaussian noise")
    assert (noise.severity, noise.modality, noise.n) == (5, "DX", 1)
    assert noise.clean == 1
    assert noise.spoiled == pytest.approx(2 / 3)
    assert noise.delta == pytest.approx(-1 / 3)
    assert noise.relative_error is None  # the clean answers had no error
    assert noise.interval is None  # one patient


def test_only_the_first_cases_are_spoiled_where_asked():
    model = ScriptedModel(_brightness)
    plan = CorruptionPlan(severities=(1,), names=("contrast",), most_cases=2)

    report = evaluate_cases(model, _cases(), corruptions=plan)

    assert [result.n for result in report.spoiled] == [2]
    assert model.asked.count(("lung",)) == 2


def test_the_worst_answers_are_kept_worst_first():
    def wrong(stack, phrase):
        if phrase == "mass":
            return answer_with(phrase, square((20, 20, 24, 24)), score=0.7)
        return answer_with(phrase, square((4, 4, 14, 9)))

    report = evaluate_cases(ScriptedModel(wrong), _cases())

    shown = [(case.row.phrase, case.row.case) for case in report.worst]
    assert [phrase for phrase, _ in shown[:3]] == ["mass"] * 3
    assert shown[3:] == [("lung", "case2"), ("lung", "case1"), ("lung", "case0")]
    assert report.worst[0].found.sum() == 16
    assert report.worst[3].truth.sum() == 100


def test_a_perfect_report_has_no_worst_case():
    assert evaluate_cases(ScriptedModel(_brightness), _cases()).worst == ()


def test_results_are_plain_json_with_every_definition(tmp_path):
    report = evaluate_cases(ScriptedModel(_brightness), _cases())

    results = json.loads(write_results(report, tmp_path).read_text())

    dice = results["metrics"]["Dice"]
    assert dice["value"] == dice["low"] == dice["high"] == 1
    assert (dice["n"], dice["patients"], dice["unit"]) == (3, 2, "phrases")
    assert "twice the shared voxels" in dice["definition"]
    assert len(results["phrases"]) == 6
    assert results["phrases"][1]["dice"] is None
    assert results["model"]["sha256"] == "0" * 64
    assert results["curves"]["reliability_presence"]


def test_a_name_used_twice_is_refused():
    cases = [make_case("same", masks={"lung": _TRUE}) for _ in range(2)]

    with pytest.raises(DatasetError, match="two cases"):
        evaluate_cases(ScriptedModel(_brightness), cases)


def test_nothing_to_ask_is_refused():
    with pytest.raises(DatasetError, match="no phrase"):
        evaluate_cases(ScriptedModel(_brightness), [])


def test_a_severity_beyond_five_is_refused():
    with pytest.raises(ValueError, match="severities"):
        CorruptionPlan(severities=(1, 6))


def test_the_same_seed_gives_the_same_report():
    def half(stack, phrase):
        grown = np.random.default_rng(len(phrase)).random(stack.pixels.shape) > 0.3
        return answer_with(phrase, grown & (stack.pixels > 0.5))

    first, second = (
        evaluate_cases(ScriptedModel(half), _cases()).to_json() for _ in range(2)
    )

    assert str(first) == str(second)
