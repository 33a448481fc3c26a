"""Offer the training commands: fetch, fit, calibrate, evaluate, card."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from training.config import TrainingConfig

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(prog="training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="download the open volumes, pinned by SHA-256")
    fit = commands.add_parser("fit", help="train; continues an interrupted run")
    fit.add_argument("config", type=Path, help="TOML file")
    fit.add_argument("--out", type=Path, required=True, help="checkpoint folder")
    for name, text in (
        ("calibrate", "set the thresholds of a checkpoint on development stacks"),
        ("evaluate", "measure a checkpoint on the held-out CT"),
        ("card", "write the model card from the evaluation"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("checkpoint", type=Path)
        if name == "card":
            command.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(arguments)
    _run(options)


def _run(options: argparse.Namespace) -> None:
    from dicom_node.opendata import fetch_totalsegmentator

    if options.command == "card":
        from training.card import write_card

        write_card(options.checkpoint, TrainingConfig.load(options.config))
        return
    reference = fetch_totalsegmentator()
    if options.command == "fetch":
        _say(str(reference))
    elif options.command == "fit":
        from training.fit import fit

        _say(str(fit(TrainingConfig.load(options.config), reference, options.out)))
    elif options.command == "calibrate":
        _calibrate(options.checkpoint, reference)
    else:
        from training.evaluate import evaluate

        results = evaluate(options.checkpoint, reference)
        _say(json.dumps({k: v for k, v in results.items() if isinstance(v, float)}))


def _calibrate(folder: Path, reference: Path) -> None:
    from model.inference import GroundingModel
    from training.development import CALIBRATION_FILE, calibrate
    from training.phrases import load_lexicon
    from training.volumes import load_training_volumes

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
