"""Hold the settings of one training run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from model.config import MedGLIPConfig
from training.errors import ConfigError

__all__ = ["TRAINING_FILE", "SourceConfig", "StageConfig", "TrainingConfig"]

TRAINING_FILE = "training.json"
"""Name of the training settings inside a checkpoint folder."""

LOSS_WEIGHTS = {
    "dense": 1.0,
    "presence": 0.5,
    "words": 0.3,
    "core": 0.1,
    "hierarchy": 0.1,
    "taco": 0.0,
}
"""What each objective counts; 0 leaves it out. TaCo gained nothing in an independent
repetition and is off."""


@dataclass(frozen=True)
class SourceConfig:
    """One source of batches and how often it is drawn."""

    name: str
    """Unique in a run; also the kind, or the drawn source, where `kind` says nothing"""
    weight: float = 1.0
    kind: str = ""
    """Key of ``training.fit.sources.SOURCES``"""
    shards: str | None = None
    """Folder of a build: the kind is ``shards``"""
    options: dict[str, Any] = field(default_factory=dict)
    """What the builder of this kind takes besides"""


@dataclass(frozen=True)
class StageConfig:
    """A stretch of a run: what learns, how fast, and from what."""

    steps: int
    name: str = "all"
    train: tuple[str, ...] = ()
    """Names of modules whose parameters learn (``core``, ``trunk.up``); empty: all"""
    losses: tuple[str, ...] = ()
    """Names of objectives; empty: every one with a weight"""
    sources: dict[str, float] = field(default_factory=dict)
    """Source name to weight during this stage; sources not named keep theirs"""
    learning_rate: float | None = None
    core_learning_rate: float | None = None
    warmup: int = 0
    schedule_steps: int = 0
    """Length of the cosine; 0: `steps`. A longer one never reaches its end."""
    cooldown: int = 0
    """Over the last so many steps the rate falls linearly as well."""
    core_every: int | None = None
    """The detection core learns at every n-th step; 0: never"""
    core_pictures: int | None = None
    """Pictures of a batch that the core sees; 0: all"""
    from_average: bool = False
    """Start from the moving average of the weights"""
    hypotheses: int = 0
    """Dense answers that are compared with the labels; 0: as many as the model has. 1
    is their mean, at a third of the cost, while they are the same anyway."""


@dataclass(frozen=True)
class TrainingConfig:
    """Describe a training run; saved beside its checkpoints."""

    seed: int = 20261122
    steps: int = 3000
    """Without `stages`: length of the one stage that trains everything."""
    batch: int = 8
    rows: int = 112
    columns: int = 144
    """Training field in model pixels; both multiples of 16."""
    volume_weights: tuple[float, ...] = (0.45, 0.08, 0.22, 0.25)
    """How often the torso CT, the angiogram, the MR and the angiogram's upper abdomen
    are drawn."""
    phrases: int = 48
    """Concepts per step, each in one drawn wording."""
    contrast_phrases: int = 96
    """Wordings per step for the text-only objective."""
    core_every: int = 3
    """The detection core learns at every n-th step."""
    core_steps: int = 0
    """Without `stages`: after `steps`, the core alone learns this long on the frozen
    average of all other weights."""
    core_pictures: int = 4
    core_phrases: int = 14
    learning_rate: float = 2e-3
    core_learning_rate: float = 6e-4
    """Of the detection core and of an image or text encoder that came trained."""
    weight_decay: float = 0.02
    warmup: int = 100
    schedule_steps: int = 0
    cooldown: int = 0
    clip: float = 1.0
    """Largest norm of the gradient"""
    ema: float = 0.997
    text_noise: float = 0.05
    attribute_dropout: float = 0.3
    """How often a phrase is learned without its attributes, so that it stands alone."""
    loss_weights: dict[str, float] = field(default_factory=LOSS_WEIGHTS.copy)
    proposal_matches: int = 9
    """Proposals per region that learn to be good ones; 1: one-to-one, 0: none."""
    word_alignment: bool = True
    """Regions learn each word of a phrase; False: the mean of its words."""
    denoising_groups: int = 2
    """Groups of noised regions that the decoder has to repair; 0: none."""
    label_noise: float = 0.5
    box_noise: float = 1.0
    hypothesis_epsilon: float = 0.05
    """Share of the gradient that goes to the hypotheses that did not win."""
    accumulate: int = 1
    """Batches per optimiser step"""
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"
    """``auto``: a GPU when there is one"""
    fsdp: bool = False
    """Under ``torchrun``: shard weights and optimiser (FSDP2) instead of copying."""
    save_every: int = 50
    log_every: int = 20
    picture_every: int = 0
    """Draw predictions at every n-th step; 0: never."""
    tensorboard: bool = False
    threads: int = 1
    workers: int = 1
    """Processes per source and rank that draw batches"""
    note: str = ""
    """What a reader of the card has to know about this run."""
    sources: tuple[SourceConfig, ...] = (SourceConfig("open-volumes"),)
    stages: tuple[StageConfig, ...] = ()
    model: MedGLIPConfig = field(default_factory=MedGLIPConfig)

    def __post_init__(self) -> None:
        if self.rows % 16 or self.columns % 16:
            raise ConfigError("rows and columns of the field are multiples of 16")
        if unknown := sorted(set(self.loss_weights) - set(LOSS_WEIGHTS)):
            raise ConfigError(f"unknown losses: {', '.join(unknown)}")
        if not self.sources:
            raise ConfigError("a run needs at least one source")
        names = {source.name for source in self.sources}
        for stage in self.stages:
            if unknown := sorted(set(stage.sources) - names):
                raise ConfigError(f"stage {stage.name}: no source {unknown[0]}")
            if unknown := sorted(set(stage.losses) - set(LOSS_WEIGHTS)):
                raise ConfigError(f"stage {stage.name}: no loss {unknown[0]}")

    @property
    def plan(self) -> tuple[StageConfig, ...]:
        """Stages in order; without a list, what `steps` and `core_steps` say."""
        if self.stages:
            return self.stages
        main = StageConfig(
            steps=self.steps,
            warmup=self.warmup,
            schedule_steps=self.schedule_steps,
            cooldown=self.cooldown,
        )
        alone = StageConfig(
            steps=self.core_steps,
            name="core",
            train=("core",),
            losses=("core",),
            core_every=1,
            core_pictures=0,
            from_average=True,
        )
        return (main, alone) if self.core_steps else (main,)

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.plan)

    def stage_at(self, step: int) -> tuple[StageConfig, int]:
        """Return the stage that holds a step and the steps done in it before."""
        first = 0
        for stage in self.plan:
            if step < first + stage.steps:
                return stage, step - first
            first += stage.steps
        return self.plan[-1], step - first + self.plan[-1].steps

    @classmethod
    def load(cls, path: Path, changes: Sequence[str] = ()) -> TrainingConfig:
        """Read a TOML file; the table ``[model]`` holds ``MedGLIPConfig`` fields.

        Parameters
        ----------
        changes
            ``a.b=c`` each: a dotted name and a TOML value or a bare text.

        Raises
        ------
        ConfigError
            A name is unknown, or values contradict each other.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        for change in changes:
            _set(raw, change)
        return cls.from_dict(raw)

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
        """Build the record from plain values; unknown names are refused.

        The table ``model`` may name a ``size`` (``tiny``, ``small``, ``base``) and
        change single fields of it.
        """
        raw = dict(settings)
        model = _model(raw.pop("model", {}))
        for name in ("sources", "stages"):
            tables = raw.get(name, [])
            if not isinstance(tables, list | tuple) or not all(
                isinstance(one, dict) for one in tables
            ):
                raise ConfigError(f"{name} is a list of tables: write [[{name}]]")
        if "sources" in raw:
            raw["sources"] = tuple(_record(SourceConfig, s) for s in raw["sources"])
        if "stages" in raw:
            raw["stages"] = tuple(_record(StageConfig, s) for s in raw["stages"])
        if "loss_weights" in raw:
            raw["loss_weights"] = {**LOSS_WEIGHTS, **raw["loss_weights"]}
        config: TrainingConfig = _record(cls, {**raw, "model": model})
        return config


def _model(raw: dict[str, Any]) -> MedGLIPConfig:
    changes = {key: _frozen(value) for key, value in raw.items()}
    size = changes.pop("size", None)
    known = {item.name for item in fields(MedGLIPConfig)}
    if unknown := sorted(set(changes) - known):
        raise ConfigError(f"unknown model settings: {', '.join(unknown)}")
    if size is None:
        return MedGLIPConfig(**changes)
    if size not in {"tiny", "small", "base"}:
        raise ConfigError(f"no model size {size!r}: tiny, small or base")
    base: MedGLIPConfig = getattr(MedGLIPConfig, size)()
    return replace(base, **changes)


def _record(kind: Any, raw: dict[str, Any]) -> Any:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(raw) - known):
        raise ConfigError(f"unknown training settings: {', '.join(unknown)}")
    try:
        return kind(**{key: _frozen(value) for key, value in raw.items()})
    except TypeError as error:
        raise ConfigError(str(error)) from error


def _set(raw: Any, change: str) -> None:
    """Lay one ``a.b=c`` over nested tables; a number is a position in a list."""
    path, separator, text = change.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"{change!r} is not of the form name=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, last = path.strip().split(".")
    try:
        for name in tables:
            raw = raw[int(name)] if isinstance(raw, list) else raw.setdefault(name, {})
        if isinstance(raw, list):
            raw[int(last)] = value
        else:
            raw[last] = value
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path.strip()!r} names no setting") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
