from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch

from tests.builders.fit_process import HALVES
from training.config import TrainingConfig
from training.errors import ConfigError
from training.fit import ablation
from training.fit.ablation import ABLATIONS, ablate, change
from training.fit.toy_run import ToyScore, box_iou, score_toy, train_toy

TINY_TOY = replace(HALVES, steps=2)
SWITCHES = {
    "film",
    "modality_tokens",
    "text_prefix",
    "hierarchy",
    "attribute_bank",
    "hypotheses",
}
"""Switches of the network that the evaluation report shows."""


def test_every_switch_of_the_network_is_measured():
    changed = {
        name.removeprefix("model.")
        for one in ABLATIONS
        for name in one.on
        if name.startswith("model.") and one.on[name] != one.off.get(name)
    }

    assert changed >= SWITCHES - {"hierarchy"}
    assert any(one.on.get("model.hierarchy") for one in ABLATIONS)


@pytest.mark.parametrize("one", ABLATIONS, ids=lambda one: one.option)
def test_the_two_sides_of_an_option_differ_in_that_option(one):
    on, off = change(TINY_TOY, one.on), change(TINY_TOY, one.off)

    assert on != off
    assert one.metric in {item.name for item in fields(ToyScore)}
    assert on.steps == off.steps
    assert on.seed == off.seed


def test_rows_are_written_after_every_option_and_not_measured_twice(
    tmp_path, monkeypatch
):
    measured: list[TrainingConfig] = []

    def score(config, world):
        measured.append(config)
        return ToyScore(0.5 + 0.1 * len(measured), 0.4, 0.9, 1.0, 77)

    monkeypatch.setattr(ablation, "_score", score)
    out = tmp_path / "rows.json"

    ablate(out, options=["denoising"], seeds=(1, 2), base=TINY_TOY)
    assert len(measured) == 4
    ablate(out, options=["denoising", "taco"], seeds=(1, 2), base=TINY_TOY)

    rows = json.loads(out.read_text())
    assert [row["option"] for row in rows] == ["denoising", "taco"]
    assert len(measured) == 8
    assert rows[0]["on"] == pytest.approx([0.6, 0.7])
    assert rows[0]["off"] == pytest.approx([0.8, 0.9])
    assert rows[0]["n"] == 77
    assert rows[0]["seeds"] == [1, 2]


def test_the_same_run_is_made_once(tmp_path, monkeypatch):
    count = []
    score = ToyScore(0.5, 0.4, 0.9, 1.0, 77)
    monkeypatch.setattr(ablation, "_score", lambda *_: count.append(1) or score)

    ablate(
        tmp_path / "rows.json",
        options=["proposals supervised", "proposals one-to-many"],
        seeds=(1,),
        base=TINY_TOY,
    )

    assert len(count) == 3  # both options share the side with nine matches


def test_an_unknown_option_and_a_broken_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="beauty"):
        ablate(tmp_path / "rows.json", options=["beauty"])
    (tmp_path / "rows.json").write_text("{}x")
    with pytest.raises(ConfigError, match="rows"):
        ablate(tmp_path / "rows.json", options=["taco"])


def test_a_score_counts_what_it_says():
    torch.manual_seed(0)
    trainer, seconds = train_toy(TINY_TOY, families=True)

    score = score_toy(trainer, batches=2, families=True)

    assert seconds > 0
    assert score.phrases > 0
    for item in ("accuracy", "iou", "auroc", "consistency"):
        assert 0 <= getattr(score, item) <= 1


def test_the_overlap_of_boxes_is_known():
    first = torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    second = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0]])

    assert box_iou(first, second).tolist() == [0.5, 1.0]
