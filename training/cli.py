"""Offer the training commands: fetch, fit, calibrate, evaluate, card, checkpoint."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from dicom_node.opendata import fetch_totalsegmentator
from model import bundled_checkpoint
from training.config import TRAINING_FILE
from training.fit.arguments import add_fit_arguments

__all__ = ["main"]


_BUNDLE = ("model.safetensors", "config.json", "README.md", "overlay.png")
_RESULTS = ("calibration.json", "evaluation.json")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(prog="training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="download the open volumes, pinned by SHA-256")
    for name, text in (
        ("fit", "train; under torchrun, on many devices"),
        ("checkpoint", "fit, calibrate, evaluate, write the card and bundle it all"),
    ):
        command = commands.add_parser(name, help=text)
        add_fit_arguments(command)
    for name, text in (
        ("calibrate", "set the thresholds of a checkpoint on development stacks"),
        ("evaluate", "measure a checkpoint on the held-out CT"),
        ("card", "write the model card from the evaluation"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("checkpoint", type=Path)
    _run(parser.parse_args(arguments))


def _run(options: argparse.Namespace) -> None:
    from training.bundled.card import write_card

    if options.command == "card":
        write_card(options.checkpoint)
        return
    reference = fetch_totalsegmentator()
    if options.command == "fetch":
        _say(str(reference))
    elif options.command == "calibrate":
        _calibrate(options.checkpoint, reference)
    elif options.command == "evaluate":
        _evaluate(options.checkpoint, reference)
    else:
        from training.fit.loop import fit_command

        out = fit_command(options)
        if options.command == "checkpoint":
            _calibrate(out, reference)
            _evaluate(out, reference)
            write_card(out)
            _bundle(out)


def _bundle(folder: Path) -> None:
    """Copy a finished checkpoint to where the project ships it."""
    target = bundled_checkpoint()
    target.mkdir(parents=True, exist_ok=True)
    for name in (*_BUNDLE, *_RESULTS, TRAINING_FILE):
        shutil.copyfile(folder / name, target / name)
    _say(str(target))


def _evaluate(folder: Path, reference: Path) -> None:
    from training.bundled.evaluate import evaluate

    results = evaluate(folder, reference)
    _say(json.dumps({k: v for k, v in results.items() if isinstance(v, float)}))


def _calibrate(folder: Path, reference: Path) -> None:
    from model.inference import GroundingModel
    from training.bundled.development import CALIBRATION_FILE, calibrate
    from training.derived.volumes import load_training_volumes
    from training.phrases import load_lexicon

    config, report = calibrate(
        GroundingModel.from_pretrained(folder),
        load_training_volumes(reference),
        load_lexicon(),
    )
    config.save(folder)
    text = json.dumps(report, indent=1, sort_keys=True) + "\n"
    (folder / CALIBRATION_FILE).write_text(text, encoding="utf-8")
    _say(text)


def _say(text: str) -> None:
    sys.stdout.write(text.rstrip() + "\n")
