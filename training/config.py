"""Hold the settings of one training run."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from model.config import MedGLIPConfig

__all__ = ["TRAINING_FILE", "TrainingConfig"]

TRAINING_FILE = "training.json"
"""Name of the training settings inside a checkpoint folder."""


@dataclass(frozen=True)
class TrainingConfig:
    """Describe a training run; saved beside its checkpoints."""

    seed: int = 20261122
    steps: int = 3000
    batch: int = 8
    rows: int = 112
    columns: int = 144
    """Training field in model pixels; both multiples of 16."""
    volume_weights: tuple[float, ...] = (0.6, 0.12, 0.28)
    """How often the torso CT, the angiogram and the MR are drawn."""
    phrases: int = 48
    """Concepts per step, each in one drawn wording."""
    contrast_phrases: int = 96
    """Wordings per step for the text-only objective."""
    core_every: int = 3
    """The detection core learns at every n-th step."""
    core_steps: int = 0
    """After `steps`, the core alone learns this long on the frozen average of all
    other weights."""
    core_pictures: int = 4
    core_phrases: int = 14
    learning_rate: float = 2e-3
    core_learning_rate: float = 6e-4
    weight_decay: float = 0.02
    warmup: int = 100
    schedule_steps: int = 0
    """Length of the cosine; 0: `steps`. A longer one never reaches its end."""
    cooldown: int = 0
    """Over the last so many of `steps` the rate falls linearly as well."""
    clip: float = 1.0
    ema: float = 0.997
    text_noise: float = 0.05
    save_every: int = 50
    threads: int = 1
    workers: int = 1
    note: str = ""
    """What a reader of the card has to know about this run."""
    model: MedGLIPConfig = field(default_factory=MedGLIPConfig)

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a TOML file; the table ``[model]`` holds ``MedGLIPConfig`` fields."""
        return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def load_beside(cls, folder: Path) -> TrainingConfig:
        """Read the settings that made the checkpoint in `folder`."""
        return cls.from_dict(
            json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
        )

    def save(self, folder: Path) -> None:
        """Write ``training.json`` into `folder`."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        (folder / TRAINING_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> TrainingConfig:
        """Build the record from plain values; unknown names are refused."""
        raw = dict(settings)
        model = {key: _frozen(value) for key, value in raw.pop("model", {}).items()}
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"unknown training settings: {', '.join(unknown)}")
        frozen = {key: _frozen(value) for key, value in raw.items()}
        return cls(model=MedGLIPConfig(**model), **frozen)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
