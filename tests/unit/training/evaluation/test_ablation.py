from __future__ import annotations

import json

import pytest

from training.errors import ConfigError
from training.evaluation.ablation import AblationRow, load_ablation, render_ablation


def _row(on, off, *, metric="Dice", option="film"):
    return AblationRow(option, metric, tuple(on), tuple(off), n=40)


@pytest.mark.parametrize(
    ("on", "off", "verdict"),
    [
        ((0.8, 0.82, 0.81), (0.7, 0.71, 0.72), "helps"),
        ((0.7, 0.71, 0.72), (0.8, 0.82, 0.81), "does not help: it harms"),
        (
            (0.7, 0.8, 0.75),
            (0.75, 0.7, 0.78),
            "does not help: within the noise of seeds",
        ),
        ((0.8,), (0.7,), "better in one run: no proof"),
        ((0.7,), (0.7,), "not better in one run: no proof"),
    ],
)
def test_a_verdict_says_no_more_than_the_seeds_show(on, off, verdict):
    assert _row(on, off).verdict == verdict


def test_less_of_a_bad_thing_is_a_gain():
    row = _row((0.1, 0.12, 0.11), (0.2, 0.21, 0.22), metric="Brier")

    assert row.gain == pytest.approx(0.1)
    assert row.verdict == "helps"


def test_useless_options_are_named_in_a_sentence():
    rows = [
        _row((0.8, 0.82, 0.81), (0.7, 0.71, 0.72)),
        _row((0.7, 0.71, 0.72), (0.8, 0.82, 0.81), option="taco"),
    ]

    text = render_ablation(rows)

    assert "| film | Dice | 0.810 | 0.710 | +0.100 ± 0.006 | 40 | 3 | helps |" in text
    assert "the following do not help: taco." in text


def test_rows_are_read_from_json(tmp_path):
    path = tmp_path / "ablation.json"
    entry = {"option": "film", "metric": "Dice", "on": [0.8, 0.9], "off": [0.7, 0.7]}
    single = {**entry, "on": 0.8, "off": 0.7, "seeds": 1, "n": 4}
    path.write_text(json.dumps([{**entry, "seeds": [0, 1], "n": 40}, single]))

    first, second = load_ablation(path)

    assert (first.on, first.off, first.n) == ((0.8, 0.9), (0.7, 0.7), 40)
    assert second.on == (0.8,)


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 3},
        {"on": [0.1]},
        {"on": ["x", "y"]},
        {"n": None},
        {"on": [], "off": []},
    ],
)
def test_a_row_that_contradicts_itself_is_named(tmp_path, change):
    path = tmp_path / "ablation.json"
    row = {"option": "film", "metric": "Dice", "on": [1, 2], "off": [1, 2]}
    path.write_text(json.dumps([{**row, "seeds": 2, "n": 1, **change}]))

    with pytest.raises(ConfigError, match=r"film|row 0"):
        load_ablation(path)
