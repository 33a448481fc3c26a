from __future__ import annotations

import pytest

from tests.builders.judged_cases import (
    ScriptedModel,
    answer_with,
    make_case,
    nothing,
    square,
)
from training.evaluation.evaluate import evaluate_cases
from training.evaluation.plots import draw_plots
from training.evaluation.render import render_report
from training.evaluation.robustness import CorruptionPlan
from training.evaluation.tables import cell, table


def _half(stack, phrase):
    if phrase == "rib":
        return nothing(phrase)
    return answer_with(phrase, square((4, 4, 14, 9)), score=0.8, uncertainty=0.3)


def _report(patients: int, **options):
    cases = [
        make_case(
            f"case{number}",
            masks={"lung": square((4, 4, 14, 14))},
            absent=["mass", "rib"],
        )
        for number in range(patients)
    ]
    return evaluate_cases(ScriptedModel(_half), cases, **options)


def test_one_patient_is_called_one_observation():
    text = render_report(_report(1))

    assert "1 case of 1 patient: 1 present and 2 absent phrases" in text
    assert "This is one observation" in text
    assert "accuracy of" not in text
    assert "| case0 | lung | yes | yes | 0.800 |" in text


def test_few_patients_get_a_row_per_phrase_and_many_do_not():
    few, many = render_report(_report(3)), render_report(_report(12))

    assert "3 patients are few" in few
    assert "| case2 | rib | no | no |" in few
    assert "## Every phrase" not in many
    assert "500 resamples of the patients" in many


def test_every_number_stands_beside_its_count_interval_and_meaning():
    text = render_report(_report(12))

    line = next(row for row in text.splitlines() if row.startswith("| Dice |"))
    assert "| 0.667 | 0.667 to 0.667 | 12 phrases, 12 patients | higher |" in line
    assert "twice the shared voxels" in line


def test_spoiled_pictures_have_a_table_of_their_own():
    plan = CorruptionPlan(severities=(2,), names=("contrast",))

    text = render_report(_report(2, corruptions=plan))

    expected = "| DX | contrast | 2 | 0.667 | +0.000 | +0.000 to +0.000 | 1.000 |"
    assert expected in text


def test_plots_are_drawn_and_named(tmp_path):
    plan = CorruptionPlan(severities=(1, 3), names=("contrast", "gamma"))
    report = _report(3, corruptions=plan)

    names = draw_plots(report, tmp_path)

    assert names == [
        "precision-recall.png",
        "reliability.png",
        "classes.png",
        "risk-coverage.png",
        "corruptions.png",
        "worst-cases.png",
    ]
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in names)
    text = render_report(report, plots=names)
    assert "![worst cases](worst-cases.png)" in text


def test_equal_reports_give_equal_pictures(tmp_path):
    for folder in ("a", "b"):
        draw_plots(_report(2), tmp_path / folder)

    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("mask", [square((0, 0, 32, 32)), square((0, 0, 1, 1))])
def test_regions_at_the_edge_can_be_drawn(tmp_path, mask):
    case = make_case(masks={"cost $5": square((30, 30, 32, 32))})
    model = ScriptedModel(lambda stack, phrase: answer_with(phrase, mask))

    assert "worst-cases.png" in draw_plots(evaluate_cases(model, [case]), tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (0.12345, "0.123"),
        (float("nan"), "-"),
        ("a|b", "a\\|b"),
    ],
)
def test_a_cell_is_written_for_people(value, text):
    assert cell(value) == text


def test_a_table_has_a_head_and_a_rule():
    assert table(["a", "b"], [[1, 2.0]]) == "| a | b |\n| --- | --- |\n| 1 | 2.000 |"
