"""Offer the training commands; each loads its own room when it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from dicom_node.errors import NodeError
from training.errors import TrainingError

__all__ = ["COMMANDS", "main"]


class _Command(NamedTuple):
    """One command: what it does, and where its arguments and its work are."""

    help: str
    arguments: str
    run: str


_BUNDLED = "training.bundled.command"

COMMANDS = {
    "fetch": _Command(
        "download the open volumes of TotalSegmentator, pinned by SHA-256",
        f"{_BUNDLED}:add_no_arguments",
        f"{_BUNDLED}:fetch_command",
    ),
    "build": _Command(
        "make shards, records and a data card from datasets of the registry",
        "training.build.command:add_build_arguments",
        "training.build.command:build_command",
    ),
    "export": _Command(
        "write a build as ODVG or COCO",
        "training.export.command:add_export_arguments",
        "training.export.command:export_command",
    ),
    "scale": _Command(
        "stream a synthetic build of any size and say what limits it",
        "training.stream.scale:add_scale_arguments",
        "training.stream.scale:scale_command",
    ),
    "fit": _Command(
        "train; under torchrun, on many devices",
        "training.fit.arguments:add_fit_arguments",
        "training.fit.loop:fit_command",
    ),
    "ablate": _Command(
        "train a toy with and without each option and say what each is worth",
        "training.fit.ablation:add_ablation_arguments",
        "training.fit.ablation:ablation_command",
    ),
    "throughput": _Command(
        "time our training beside the stock model's, on the same data",
        "training.fit.throughput:add_throughput_arguments",
        "training.fit.throughput:throughput_command",
    ),
    "evaluate": _Command(
        "measure a checkpoint on a build, a public benchmark or what is held out",
        "training.evaluation.command:add_evaluate_arguments",
        "training.cli:_evaluate",
    ),
    "checkpoint": _Command(
        "make the shipped checkpoint: fit, calibrate, measure, card, bundle",
        "training.fit.arguments:add_fit_arguments",
        f"{_BUNDLED}:checkpoint_command",
    ),
    "calibrate": _Command(
        "set how a checkpoint's scores are read, on development data",
        f"{_BUNDLED}:add_checkpoint_argument",
        f"{_BUNDLED}:calibrate_command",
    ),
    "measure": _Command(
        "measure a checkpoint for its card, on everything held out",
        f"{_BUNDLED}:add_checkpoint_argument",
        f"{_BUNDLED}:measure_command",
    ),
    "card": _Command(
        "write the model card from the results beside a checkpoint",
        f"{_BUNDLED}:add_checkpoint_argument",
        f"{_BUNDLED}:card_command",
    ),
    "page": _Command(
        "write the report page of docs/evaluation from the results in it",
        f"{_BUNDLED}:add_page_arguments",
        f"{_BUNDLED}:page_command",
    ),
}
"""Command by name, in the order in which a person meets them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; mistakes of its user end with a message and status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in COMMANDS:
        _say_commands(words)
        return
    name, *rest = words
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"python -m training {name}", description=command.help
    )
    _find(command.arguments)(parser)
    options = parser.parse_args(rest)
    try:
        _find(command.run)(options)
    except (TrainingError, NodeError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


def _say_commands(words: Sequence[str]) -> None:
    """List the commands; what is none of them is a mistake."""
    lines = ["python -m training COMMAND ...", ""]
    lines += [f"  {name:<12}{command.help}" for name, command in COMMANDS.items()]
    text = "\n".join(lines) + "\n"
    if words and words[0] not in ("-h", "--help"):
        sys.stderr.write(f"no command {words[0]!r}\n\n{text}")
        raise SystemExit(2)
    sys.stdout.write(text)


def _evaluate(options: argparse.Namespace) -> None:
    from training.bundled.command import held_out_sets
    from training.evaluation.command import evaluate_command

    evaluate_command(options, named=held_out_sets())


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
