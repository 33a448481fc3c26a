"""Measure a checkpoint on what is held out: regions, words, absences, branches."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.opendata import cache_folder
from model.inference import GroundingModel
from model.records import PhraseGrounding
from training.bundled.cases import ct_case, picture_cases
from training.bundled.drawing import draw_overlay
from training.bundled.heldout import HeldOut, load_held_out
from training.evaluation.evaluate import evaluate_cases
from training.evaluation.metrics import auroc, dice, paste
from training.evaluation.report import Report
from training.phrases import Concept, Lexicon, load_lexicon

__all__ = ["EVALUATION_FILE", "SIX", "evaluate", "everything_held_out"]

EVALUATION_FILE = "evaluation.json"
"""Name of the results inside a checkpoint folder."""

SIX = (
    ("liver", "liver"),
    ("spleen", "spleen"),
    ("aorta", "aorta"),
    ("stomach", "stomach"),
    ("inferior vena cava", "inferior vena cava"),
    ("vertebra", "vertebrae"),
)
"""The phrases that the first try was judged by, and their concepts."""

WORDINGS = (
    ("liver", "hepatic parenchyma"),
    ("liver", "the liver is enlarged"),
    ("liver", "hepatomegaly"),
    ("liver", "parenchyma of the liver"),
    ("liver", "the liver appears enlarged and fatty"),
    ("spleen", "the spleen appears enlarged"),
    ("spleen", "spleen tissue"),
    ("aorta", "calcified plaque in the abdominal aorta"),
    ("aorta", "the aorta is ectatic"),
    ("aorta", "atherosclerosis of the abdominal aorta"),
    ("stomach", "wall of the stomach"),
    ("stomach", "the stomach is distended"),
    ("inferior vena cava", "ivc"),
    ("inferior vena cava", "the ivc is patent"),
    ("vertebrae", "spine"),
    ("vertebrae", "bones of the spine"),
    ("vertebrae", "degenerative spine"),
)
"""Concept and wording; whether it was trained on is looked up, not claimed."""


@dataclass(frozen=True)
class PhraseResult:
    """What one phrase reached on the held-out series."""

    concept: str
    phrase: str
    trained_wording: bool
    score: float
    is_present: bool
    uncertainty: float
    volume_ml: float
    """Size of the labelled region, 0 when absent"""
    dice: float


def evaluate(folder: Path, reference: Path) -> dict[str, Any]:
    """Evaluate a checkpoint and write ``evaluation.json`` and a picture beside it."""
    lexicon = load_lexicon()
    held_out = load_held_out(reference)
    model = GroundingModel.from_pretrained(folder)
    present, absent = held_out.judged(lexicon)
    trained = {text for c in lexicon.concepts for text in lexicon.wordings(c)}

    def judge(pairs: list[tuple[Concept, str]]) -> list[PhraseResult]:
        answers = model.ground(held_out.stack, [phrase for _, phrase in pairs])
        return [
            _result(concept, answer, held_out, lexicon, trained)
            for (concept, _), answer in zip(pairs, answers, strict=True)
        ]

    begin = time.perf_counter()
    structures = judge([(concept, concept.names[0]) for concept in present])
    seconds = time.perf_counter() - begin
    six = judge([(lexicon.find(concept), phrase) for phrase, concept in SIX])
    wordings = judge([(lexicon.find(concept), phrase) for concept, phrase in WORDINGS])
    unseen = judge([(c, text) for c in present for text in c.held_out])
    nothing = judge([(concept, concept.names[0]) for concept in absent])
    nothing_unseen = judge([(c, text) for c in absent for text in c.held_out])
    everything = [*structures, *nothing]
    report = everything_held_out(model, held_out, lexicon)
    results: dict[str, Any] = {
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "phrases_per_run": len(structures),
        "seconds_per_run": round(seconds, 2),
        "mean_dice_six": _mean(six),
        "mean_dice_all": _mean(structures),
        "mean_dice_unseen_wording": _mean(unseen),
        "mean_dice_unseen_wording_usual": _mean(
            [_usual(result, structures) for result in unseen]
        ),
        "presence_auroc": auroc(
            np.array([r.score for r in everything]),
            np.array([r.volume_ml > 0 for r in everything]),
        ),
        "presence_sensitivity": float(np.mean([r.is_present for r in structures])),
        "absence_specificity": float(np.mean([not r.is_present for r in nothing])),
        "absence_specificity_unseen": float(
            np.mean([not r.is_present for r in nothing_unseen])
        ),
        "uncertainty_error_correlation": _correlation(structures),
        "six": _rows(six),
        "structures": _rows(structures),
        "wordings": _rows(wordings),
        "unseen_wordings": _rows(unseen),
        "absent": _rows(nothing),
        "absent_unseen": _rows(nothing_unseen),
        "pictures": _pictures(report),
        "corpus": _corpus(report),
        "branches": _branches(model, held_out, lexicon, present),
    }
    text = json.dumps(results, indent=1) + "\n"
    (folder / EVALUATION_FILE).write_text(text, encoding="utf-8")
    draw_overlay(model, held_out, folder / "overlay.png", phrases=[p for p, _ in SIX])
    return results


def everything_held_out(
    model: GroundingModel, held_out: HeldOut, lexicon: Lexicon
) -> Report:
    """Ask for everything that is labelled or surely absent on all held-out images."""
    cases = [ct_case(held_out, lexicon), *picture_cases(cache_folder(), lexicon)]
    return evaluate_cases(model, cases, title="What is held out")


def _pictures(report: Report) -> list[dict[str, Any]]:
    """Return one row per phrase of the pictures beside the CT."""
    return [
        {
            "case": row.case,
            "modality": row.modality,
            "phrase": row.phrase,
            "there": row.is_present,
            "is_present": row.says_present,
            "score": round(row.score, 4),
            "uncertainty": round(row.uncertainty, 4),
            "dice": None if row.dice is None else round(row.dice, 4),
        }
        for row in report.rows
        if row.modality != "CT"
    ]


def _corpus(report: Report) -> dict[str, Any]:
    """Return what says where each held-out image is from, and all metrics."""
    return {
        "notes": list(report.notes),
        "metrics": {metric.name: metric.value for metric in report.metrics},
    }


def _result(
    concept: Concept,
    answer: PhraseGrounding,
    held_out: HeldOut,
    lexicon: Lexicon,
    trained: set[str],
) -> PhraseResult:
    region = held_out.region(concept, lexicon)
    spacing = held_out.stack.spacing_mm or (0.0, 0.0, 0.0)
    found = paste(answer.mask, answer.mask_origin, region.shape)
    return PhraseResult(
        concept=concept.name,
        phrase=answer.phrase,
        trained_wording=answer.phrase in trained,
        score=round(answer.score, 4),
        is_present=answer.is_present,
        uncertainty=round(answer.uncertainty, 4),
        volume_ml=round(float(region.sum() * np.prod(spacing)) / 1000, 2),
        dice=round(dice(found, region), 4),
    )


def _branches(
    model: GroundingModel,
    held_out: HeldOut,
    lexicon: Lexicon,
    present: list[Concept],
) -> list[dict[str, Any]]:
    """Compare the branches: the same presence decision, another share of masks."""
    shipped = model.config
    table = []
    for name, weight in (
        ("dense branch only", 0.0),
        ("detection core only", 1.0),
        ("both, half and half", 0.5),
        ("as shipped", shipped.core_weight),
    ):
        model.config = replace(shipped, core_weight=weight)
        pairs = [(lexicon.find(concept), phrase) for phrase, concept in SIX]
        pairs += [(concept, concept.names[0]) for concept in present]
        answers = model.ground(held_out.stack, [phrase for _, phrase in pairs])
        overlaps = [
            _result(concept, answer, held_out, lexicon, set()).dice
            for (concept, _), answer in zip(pairs, answers, strict=True)
        ]
        row: dict[str, Any] = {"branch": name, "core_weight": weight}
        row["mean_dice_six"] = round(float(np.mean(overlaps[: len(SIX)])), 4)
        row["mean_dice_all"] = round(float(np.mean(overlaps[len(SIX) :])), 4)
        table.append(row)
    model.config = shipped
    return table


def _usual(result: PhraseResult, structures: list[PhraseResult]) -> PhraseResult:
    """Return what the preferred name of the same concept reached."""
    return next(usual for usual in structures if usual.concept == result.concept)


def _correlation(results: list[PhraseResult]) -> float:
    """Spearman's rank correlation of uncertainty with one minus Dice."""
    from scipy.stats import spearmanr

    errors = [1 - result.dice for result in results if result.is_present]
    doubts = [result.uncertainty for result in results if result.is_present]
    return float(spearmanr(doubts, errors).statistic)


def _mean(results: list[PhraseResult]) -> float:
    return float(np.mean([result.dice for result in results]))


def _rows(results: list[PhraseResult]) -> list[dict[str, Any]]:
    return [asdict(result) for result in results]
