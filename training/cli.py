"""Offer the training commands: fetch, fit, evaluate, card."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.config import TrainingConfig

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(prog="training")
    commands = parser.add_subparsers(dest="command", required=True)
    fit_parser = commands.add_parser("fit", help="train a checkpoint")
    fit_parser.add_argument("config", type=Path)
    fit_parser.add_argument("--out", type=Path, required=True)
    fit_parser.add_argument("--data", type=Path, help="folder with reference_files")
    options = parser.parse_args(arguments)
    if options.command == "fit":
        from training.fit import fit

        fit(TrainingConfig.load(options.config), _reference(options.data), options.out)


def _reference(folder: Path | None) -> Path:
    if folder is None:
        raise SystemExit("--data is needed")
    return folder
