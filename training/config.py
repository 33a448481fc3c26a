"""Hold the settings of one training run."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from model.config import MedGLIPConfig

__all__ = ["TrainingConfig"]


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
    save_every: int = 250
    threads: int = 1
    workers: int = 1
    model: MedGLIPConfig = field(default_factory=MedGLIPConfig)

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a TOML file; the table ``[model]`` holds ``MedGLIPConfig`` fields."""
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        model = {key: _frozen(value) for key, value in raw.pop("model", {}).items()}
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"unknown training settings: {', '.join(unknown)}")
        settings = {key: _frozen(value) for key, value in raw.items()}
        return cls(model=MedGLIPConfig(**model), **settings)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
