"""Keep with the weights what they were fitted on, and under which licences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.medglip import read_metadata
from training.config import SourceConfig, TrainingConfig
from training.derived.licences import DRAWN_LICENCES, OURS, TOTALSEGMENTATOR
from training.errors import ConfigError
from training.layout import BUILD_FILE
from training.registry import Licence

__all__ = ["DATA_KEY", "Fitted", "data_of", "data_of_checkpoint", "metadata_of"]

DATA_KEY = "training_data"
"""Text in the head of a weights file: a JSON list of `Fitted`."""


@dataclass(frozen=True, order=True)
class Fitted:
    """A data set that weights were fitted on."""

    dataset: str
    licence: str
    """SPDX identifier, or ``LicenseRef-`` and a name"""
    commercial: bool
    share_alike: bool


_UNKNOWN = Fitted(
    "unknown: a checkpoint that says nothing of its data",
    "LicenseRef-unknown",
    commercial=False,
    share_alike=False,
)
"""Nobody may be promised what nobody knows."""


def data_of(config: TrainingConfig) -> tuple[Fitted, ...]:
    """Return what a run is fitted on, from all sources of its configuration.

    Raises
    ------
    ConfigError
        A build does not say its licences, or those of a source are not known.
    """
    found: set[Fitted] = set()
    for source in config.sources:
        found.update(_data_of_source(source))
    return tuple(sorted(found))


def _data_of_source(source: SourceConfig) -> Iterable[Fitted]:
    kind = source.kind or ("shards" if source.shards else source.name)
    if kind == "shards":
        if source.shards is None:
            raise ConfigError(f"source {source.name}: say where its shards are")
        return _data_of_build(Path(source.shards))
    if kind == "open-volumes":
        return [_fitted(kind, TOTALSEGMENTATOR)]
    if kind == "toy":
        return [_fitted(kind, OURS)]
    names = list(source.options) or [source.name]
    if unknown := sorted(set(names) - set(DRAWN_LICENCES)):
        raise ConfigError(f"source {source.name}: no licence of {unknown[0]} is known")
    return [_fitted(name, DRAWN_LICENCES[name]) for name in names]


def _fitted(dataset: str, licence: Licence) -> Fitted:
    return Fitted(dataset, licence.id, licence.commercial, licence.share_alike)


def _data_of_build(folder: Path) -> list[Fitted]:
    try:
        told = json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))
        found = [
            _fitted(name, Licence.model_validate(one["licence"]))
            for name, one in told["datasets"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{folder}: {BUILD_FILE} does not say the licences of its data"
        ) from error
    if not found:
        raise ConfigError(f"{folder}: {BUILD_FILE} names no licence")
    return found


def data_of_checkpoint(folder: Path) -> tuple[Fitted, ...]:
    """Return what a checkpoint was fitted on, by the head of its weights file.

    Raises
    ------
    ValueError
        The head is there and makes no sense.
    """
    text = read_metadata(folder).get(DATA_KEY)
    if text is None:
        return (_UNKNOWN,)
    try:
        return tuple(Fitted(**one) for one in json.loads(text))
    except TypeError as error:
        raise ValueError(f"{DATA_KEY} is no list of data sets") from error


def metadata_of(data: Iterable[Fitted]) -> dict[str, str]:
    """Return the texts for the head of a weights file.

    ``commercial`` is "yes" only if all data allow it; ``share_alike`` is "yes" if any
    demands it: one restriction is passed on to the whole.
    """
    listed: list[Mapping[str, Any]] = [asdict(one) for one in sorted(set(data))]
    return {
        DATA_KEY: json.dumps(listed, ensure_ascii=False),
        "commercial": "yes" if all(one["commercial"] for one in listed) else "no",
        "share_alike": "yes" if any(one["share_alike"] for one in listed) else "no",
    }
