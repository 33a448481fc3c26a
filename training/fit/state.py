"""Write and read the whole state of a run so that a crash never leaves half of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.errors import ConfigError

__all__ = ["STATE_FILE", "read_state", "write_folder", "write_state"]

STATE_FILE = "state.pt"
"""Name of the file that a run continues from: tensors and plain values only."""


def write_state(state: dict[str, Any], folder: Path) -> None:
    """Write the state file: aside, forced to the disk, then renamed over the old."""
    part = folder / f"{STATE_FILE}.part"
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / STATE_FILE)
    _force(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """Read the state file; only tensors and plain values are accepted.

    Raises
    ------
    ConfigError
        The file is damaged or holds anything else.
    """
    try:
        state: dict[str, Any] = torch.load(
            folder / STATE_FILE, weights_only=True, map_location="cpu"
        )
    except Exception as error:
        raise ConfigError(f"{STATE_FILE} of this run cannot be read") from error
    return state


def write_folder(write: Callable[[Path], None], folder: Path) -> None:
    """Let `write` fill a folder aside, then rename its files into `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as name:
        aside = Path(name)
        write(aside)
        for path in sorted(aside.iterdir()):
            _force(path)
            path.replace(folder / path.name)
    _force(folder)


def _force(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
