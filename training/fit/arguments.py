"""Declare what ``python -m training fit`` is told; light, so that help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_fit_arguments"]


def add_fit_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`training.fit.loop.fit_command` takes."""
    parser.add_argument("config", type=Path, help="TOML file")
    parser.add_argument("--out", type=Path, help="default: runs/<name of config>")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        dest="changes",
        help="change one setting; may be repeated",
    )
    parser.add_argument("--init", type=Path, help="checkpoint folder to start from")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in --out, if any"
    )
