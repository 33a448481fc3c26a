"""The real model, a real build and one command: report, JSON, plots, pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from tests.builders.judged_cases import make_case, square
from tests.builders.shard_folder import make_record, make_region, write_build
from tests.builders.tiny_model import make_grounding_model, make_stack
from training.errors import ConfigError, DatasetError
from training.evaluation.cases import case_from_masks
from training.evaluation.command import add_evaluate_arguments, evaluate_command
from training.evaluation.heatmaps import heat_source


def _options(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_evaluate_arguments(parser)
    return parser.parse_args([*map(str, words), "--quiet"])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    model = make_grounding_model()
    model.network.config = model.config
    model.network.save_pretrained(folder)
    return folder


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Six pictures of three patients: masks, boxes, absent and ignored phrases."""
    inside = square((6, 8, 24, 30), shape=(1, 32, 48))[0]
    regions = (
        make_region("heart", mask=inside),
        make_region("small nodule", (30.0, 4.0, 40.0, 12.0), label="nodule"),
        make_region("pneumothorax"),
        make_region("mass", (1.0, 1.0, 5.0, 5.0), ignore=True),
    )
    records = [
        make_record(
            regions,
            key=str(number),
            patient_key=f"p{number // 2}",
            label_space=("heart", "nodule", "pneumothorax", "mass", "fracture"),
        )
        for number in range(6)
    ]
    return write_build(
        tmp_path / "build", records, shard_samples=3, splits=("test", "train")
    )


@pytest.mark.slow  # asks again about eleven spoiled pictures
def test_a_build_is_evaluated_to_a_report_with_plots(
    built: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    spoiling = ("--corruptions", 3, "--corruption-cases", 1)

    report = evaluate_command(_options(checkpoint, built, "--out", out, *spoiling))

    written = {path.name for path in out.iterdir()}
    assert {"results.json", "report.md", "reliability.png", "classes.png"} <= written
    results = json.loads((out / "results.json").read_text())
    assert results["model"]["sha256"] == report.model["sha256"]
    assert results["model"]["sha256"] != "0" * 64
    assert len(results["phrases"]) == len(report.rows) == 12
    assert results["metrics"]["Pointing game"]["n"] == 6
    assert {result.severity for result in report.spoiled} == {3}
    assert "## Spoiled pictures" in (out / "report.md").read_text()


def test_every_decided_phrase_of_a_split_is_asked(
    built: Path, checkpoint: Path, tmp_path: Path
) -> None:
    options = _options(checkpoint, built, "--split", "train", "--out", tmp_path / "o")

    report = evaluate_command(options)

    assert report.cases == ("made/3", "made/4", "made/5")
    asked = [(row.phrase, row.is_present) for row in report.rows[:4]]
    assert asked == [
        ("heart", True),
        ("small nodule", True),
        ("pneumothorax", False),
        ("fracture", False),
    ]
    heart, nodule = report.rows[:2]
    assert heart.dice is not None
    assert nodule.dice is None
    assert nodule.category == "nodule"
    assert report.patients == 2


def test_a_held_out_set_is_called_by_its_name(checkpoint: Path) -> None:
    stack = make_stack(4, 40, 48)
    mask = square((10, 10, 30, 30), shape=(4, 40, 48))
    case = case_from_masks(
        "torso",
        stack,
        masks={"liver": mask},
        absent=["left kidney"],
        dataset="held out",
        note="one patient",
    )

    report = evaluate_command(
        _options(checkpoint, "torso-ct"), named={"torso-ct": lambda: [case]}
    )

    text = (checkpoint / "evaluation" / "torso-ct" / "report.md").read_text()
    assert "# Evaluation on torso-ct" in text
    assert "- held out: one patient" in text
    assert report.rows[0].volume_ml == pytest.approx(4 * 400 * 12 / 1000)
    assert report.rows[0].nsd is not None


def test_evidence_maps_have_the_size_of_the_picture() -> None:
    model = make_grounding_model()
    stack = make_stack(1, 70, 50, modality="DX", is_volume=False)

    first, second = heat_source(model)(stack, ["left lung", "heart"])

    assert first.shape == second.shape == (1, 70, 50)
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first != second).any()
    assert first.std() > 0


def test_the_answer_s_mask_is_cut_from_the_evidence_map() -> None:
    model = make_grounding_model()
    stack = make_stack(1, 70, 50, modality="DX", is_volume=False)

    (answer,) = model.ground(stack, ["left lung"])
    (heat,) = heat_source(model)(stack, ["left lung"])

    z, y, x = answer.mask_origin
    part = heat[z : z + answer.mask.shape[0], y:, x:]
    part = part[:, : answer.mask.shape[1], : answer.mask.shape[2]]
    assert answer.mask.any()
    assert (part[answer.mask] >= model.config.mask_threshold - 1e-4).mean() > 0.95


def test_wrong_words_are_answered_with_what_would_be_right(
    checkpoint: Path, tmp_path: Path
) -> None:
    somewhere = tmp_path / "somewhere"
    somewhere.mkdir()
    cases = {"torso": lambda: [make_case(masks={"lung": square((1, 1, 9, 9))})]}

    for words, message in (
        ((checkpoint, "nowhere"), "held-out sets by name: torso"),
        ((checkpoint, somewhere), "--dataset"),
        ((checkpoint, somewhere, "--dataset", "unknown"), "not in the registry"),
        ((checkpoint, "torso", "--metric", "accuracy"), "no metric"),
        ((checkpoint, "torso", "--corruptions", 9), "severities"),
        ((somewhere, "torso"), "no folder of a checkpoint"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_command(_options(*words), named=cases)


def test_an_empty_split_of_a_build_is_refused(built: Path, checkpoint: Path) -> None:
    with pytest.raises(DatasetError, match="nothing"):
        evaluate_command(_options(checkpoint, built, "--split", "nothing"))
