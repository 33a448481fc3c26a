"""What is measured, in the order of the page."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.report import Report, Scale, Tell

__all__ = ["SUBJECTS", "Subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One module of this package, and what a reader wants to know from it."""

    name: str
    question: str

    def load(self) -> Callable[[Scale, Path, Tell], Report]:
        """Return its program."""
        run: Callable[[Scale, Path, Tell], Report] = importlib.import_module(
            f"tests.bench.{self.name}"
        ).run
        return run


SUBJECTS = (
    Subject("receive", "How fast are instances received, made durable and answered?"),
    Subject("pixels", "How fast do files become an array of pixels?"),
    Subject("inference", "How fast does the model answer?"),
    Subject("objects", "How fast are SEG and SR objects made?"),
    Subject("end_to_end", "How long after the last image has the PACS its results?"),
    Subject("growth", "What does it cost as everything grows?"),
    Subject("scale_out", "What do more processes and more hosts bring?"),
)
