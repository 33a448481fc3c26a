"""Offer a build on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.build.execute import Execution
from training.build.ingest import Source
from training.build.pipeline import build
from training.build.settings import BuildSettings
from training.errors import ConfigError
from training.registry import DatasetSpec, load_registry

__all__ = ["add_build_arguments", "build_command"]


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the options of ``python -m training build``."""
    parser.add_argument(
        "--registry",
        action="append",
        required=True,
        metavar="ID=ROOT",
        help="a dataset of the registry and the folder it lies in; repeat for more",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the build")
    parser.add_argument(
        "--specs", type=Path, help="folder of your own YAML files, beside the bundled"
    )
    parser.add_argument("--settings", type=Path, help="TOML file of build settings")
    parser.add_argument(
        "--allow-licence",
        action="append",
        default=[],
        metavar="ID",
        help="a restrictive licence whose terms you have accepted; repeat for more",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes; default: 1")
    parser.add_argument(
        "--ray", action="store_true", help="run on Ray Data (RAY_ADDRESS, or local)"
    )
    parser.add_argument(
        "--clean", action="store_true", help="keep nothing to go on from at the end"
    )


def build_command(options: argparse.Namespace) -> None:
    """Run a build and say what it made.

    Raises
    ------
    TrainingError
        What the person at the keyboard can mend; the message says how.
    """
    specs = load_registry()
    if options.specs is not None:
        specs |= load_registry(options.specs)
    sources = [_source(text, specs) for text in options.registry]
    settings = BuildSettings.load(options.settings) if options.settings else None
    told = build(
        sources,
        options.out,
        settings=settings,
        allowed_licences=frozenset(options.allow_licence),
        execution=Execution(workers=options.workers, ray=options.ray),
        clean=options.clean,
    )
    for name, one in told["datasets"].items():
        splits = ", ".join(f"{key} {value}" for key, value in one["splits"].items())
        sys.stdout.write(f"{name}: {one['images']} images, {splits}\n")
    sys.stdout.write(f"{options.out / 'card.md'} says what was left out and why\n")


def _source(text: str, specs: dict[str, DatasetSpec]) -> Source:
    name, equals, root = text.partition("=")
    if not equals or not root:
        raise ConfigError(f"--registry {text}: write ID=FOLDER")
    if name not in specs:
        known = ", ".join(sorted(specs)) or "none"
        raise ConfigError(f"there is no dataset {name!r}; there are: {known}")
    return Source(specs[name], Path(root))
