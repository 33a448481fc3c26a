"""Offer the exports on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.export.coco import export_coco
from training.export.odvg import export_odvg
from training.export.pictures import export_pictures

__all__ = ["add_export_arguments", "export_command"]

_FORMATS = ("mm-gdino", "open-groundingdino", "coco")


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the options of ``python -m training export``."""
    parser.add_argument("build", type=Path, help="folder of a finished build")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--format", choices=_FORMATS, default="mm-gdino")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument(
        "--task",
        choices=("grounding", "detection"),
        default="grounding",
        help="of the ODVG formats: phrases, or numbered labels with label_map.json",
    )
    parser.add_argument(
        "--pictures", action="store_true", help="unpack 8 bit pictures, too"
    )


def export_command(options: argparse.Namespace) -> None:
    """Write one split in another trainer's format and say how much it is."""
    if options.format == "coco":
        counts = export_coco(
            options.build, options.out / f"{options.split}.json", split=options.split
        )
    else:
        counts = export_odvg(
            options.build,
            options.out,
            split=options.split,
            flavour=options.format,
            task=options.task,
        )
    if options.pictures:
        folder = options.out / "images"
        counts["files"] = export_pictures(options.build, folder, split=options.split)
    for name, number in counts.items():
        sys.stdout.write(f"{name}: {number}\n")
