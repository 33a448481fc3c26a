"""Make the checkpoint that ships: fit, calibrate, measure, describe, bundle."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dicom_node.opendata import cache_folder, fetch_totalsegmentator
from model import bundled_checkpoint
from model.config import CONFIG_FILE, MedGLIPConfig
from model.files import write_manifest
from model.inference import GroundingModel
from model.medglip import WEIGHTS_FILE
from training.bundled.card import write_card
from training.bundled.cases import ct_case, picture_cases
from training.bundled.development import (
    CALIBRATION_FILE,
    DevelopmentStack,
    calibrate,
    development_pictures,
    development_stacks,
)
from training.bundled.evaluate import EVALUATION_FILE, evaluate
from training.bundled.heldout import load_held_out
from training.bundled.page import write_page
from training.config import TRAINING_FILE
from training.derived.builders import BUILDERS
from training.derived.outlined import load_upper_abdomen
from training.derived.volumes import load_training_volumes
from training.evaluation.cases import EvaluationCase
from training.evaluation.command import NamedCases
from training.phrases import Lexicon, load_lexicon

__all__ = [
    "add_checkpoint_argument",
    "add_no_arguments",
    "add_page_arguments",
    "calibrate_command",
    "card_command",
    "checkpoint_command",
    "fetch_command",
    "held_out_sets",
    "measure_command",
    "page_command",
]

_BUNDLE = ("model.safetensors", "config.json", "README.md", "overlay.png")

_PICTURE_SOURCES = (
    *("radiograph_chest_frontal", "radiograph_pelvis_frontal", "brain", "head"),
    *("abdomen_mr", "fundus", "ultrasound", "endoscopy", "skin", "mammogram", "cells"),
)
"""Sources of development pictures, beside the stacks of the CT volumes."""


def add_no_arguments(_parser: argparse.ArgumentParser) -> None:
    """Take nothing."""


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Take the folder of a checkpoint."""
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the folder of the page and the checkpoint that it speaks of."""
    parser.add_argument("folder", type=Path, help="docs/evaluation")
    parser.add_argument("--checkpoint", type=Path, default=bundled_checkpoint())


def fetch_command(_options: argparse.Namespace) -> None:
    """Download the open volumes of TotalSegmentator, pinned by SHA-256."""
    sys.stdout.write(f"{fetch_totalsegmentator()}\n")


def checkpoint_command(options: argparse.Namespace) -> None:
    """Run the whole recipe and put the result where the project ships it."""
    from training.fit.loop import fit_command

    options.checkpoint = fit_command(options)
    calibrate_command(options)
    measure_command(options)
    card_command(options)
    target = bundled_checkpoint()
    target.mkdir(parents=True, exist_ok=True)
    for name in (*_BUNDLE, CALIBRATION_FILE, EVALUATION_FILE, TRAINING_FILE):
        shutil.copyfile(options.checkpoint / name, target / name)
    write_manifest(target, (CONFIG_FILE, WEIGHTS_FILE))
    sys.stdout.write(f"{target}\n")


def calibrate_command(options: argparse.Namespace) -> None:
    """Set how a checkpoint's scores are read, on development data."""
    lexicon = load_lexicon()
    model = GroundingModel.from_pretrained(options.checkpoint)
    config, report = calibrate(
        model, list(_development(model.config, lexicon)), lexicon
    )
    config.save(options.checkpoint)
    write_manifest(options.checkpoint, (CONFIG_FILE, WEIGHTS_FILE))
    text = json.dumps(report, indent=1, sort_keys=True) + "\n"
    (options.checkpoint / CALIBRATION_FILE).write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def measure_command(options: argparse.Namespace) -> None:
    """Measure a checkpoint on everything that is held out."""
    results = evaluate(options.checkpoint, fetch_totalsegmentator())
    shown = {k: v for k, v in results.items() if isinstance(v, float)}
    sys.stdout.write(json.dumps(shown, indent=1) + "\n")


def card_command(options: argparse.Namespace) -> None:
    """Write the model card from the results beside a checkpoint."""
    write_card(options.checkpoint)


def page_command(options: argparse.Namespace) -> None:
    """Write the report page."""
    sys.stdout.write(f"{write_page(options.folder, options.checkpoint)}\n")


def held_out_sets() -> NamedCases:
    """Return what ``python -m training evaluate`` knows by name."""
    return {"held-out": _everything, "held-out-ct": partial(_everything, ct_only=True)}


def _everything(*, ct_only: bool = False) -> Iterator[EvaluationCase]:
    lexicon = load_lexicon()
    yield ct_case(load_held_out(fetch_totalsegmentator()), lexicon)
    if not ct_only:
        yield from picture_cases(cache_folder(), lexicon)


def _development(config: MedGLIPConfig, lexicon: Lexicon) -> Iterator[DevelopmentStack]:
    reference = fetch_totalsegmentator()
    volumes = (*load_training_volumes(reference), load_upper_abdomen(reference))
    yield from development_stacks(volumes, lexicon, count=12)
    sources = [BUILDERS[name](reference, cache_folder()) for name in _PICTURE_SOURCES]
    yield from development_pictures(sources, lexicon, count=6, config=config)
