"""Keep the record of a run: ``metrics.jsonl`` always, TensorBoard when asked for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from training.errors import ConfigError

__all__ = ["METRICS_FILE", "MetricLog"]

METRICS_FILE = "metrics.jsonl"
"""One JSON object per line: ``step`` and means since the line before; ``seconds`` is
the only value that two equal runs do not share."""


class MetricLog:
    """Collect losses and write their means.

    Parameters
    ----------
    step
        Steps that count; lines of later steps, written by a run that was killed before
        it saved, are taken out.
    """

    def __init__(self, folder: Path, *, step: int, tensorboard: bool = False) -> None:
        self._board = _board(folder) if tensorboard else None
        path = folder / METRICS_FILE
        if path.exists():
            _cut(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._start = time.monotonic()

    def add(self, values: dict[str, Tensor]) -> None:
        """Take the values of one step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, value * 0) + value.detach()
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the means since the last line."""
        return {
            name: float(value) / self._counts[name]
            for name, value in self._sums.items()
        }

    def write(self, step: int, **others: float) -> dict[str, float]:
        """Write a line and start a new one; return its means."""
        means = {**self.means(), **others}
        seconds = round(time.monotonic() - self._start, 3)
        line: dict[str, Any] = {"step": step, **means, "seconds": seconds}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(name, value, step)
        self._sums, self._counts = {}, {}
        return means

    def add_picture(self, path: Path, step: int) -> None:
        """Show a picture file in TensorBoard."""
        if self._board is None:
            return
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._board.add_image("predictions", pixels, step, dataformats="HWC")

    def state_dict(self) -> dict[str, Any]:
        """Return what has been collected since the last line."""
        sums = {name: value.detach().cpu() for name, value in self._sums.items()}
        return {"sums": sums, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue a line that was begun."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _cut(path: Path, step: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = []
    for line in lines:
        try:
            is_older = json.loads(line)["step"] <= step
        except ValueError:  # the line that a crash cut short
            continue
        if is_older:
            kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboard = true needs: pip install 'dicom-grounding-node[tensorboard]'"
        ) from error
    writer: Any = SummaryWriter
    return writer(str(folder / "tensorboard"))
