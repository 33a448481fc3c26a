"""Build the streams that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from training.batch import BatchStream
from training.config import SourceConfig, TrainingConfig
from training.derived.slices import SliceStream
from training.derived.source import SliceSource
from training.errors import ConfigError
from training.fit.mixing import MixedStream
from training.fit.world import World
from training.phrases import Lexicon, load_lexicon

__all__ = ["SOURCES", "SourceRequest", "build_stream", "open_volumes"]


@dataclass(frozen=True)
class SourceRequest:
    """What a builder is told."""

    source: SourceConfig
    config: TrainingConfig
    rank: int
    world: int

    def slices(
        self,
        sources: Sequence[SliceSource],
        weights: Sequence[float],
        *,
        lexicon: Lexicon | None = None,
    ) -> SliceStream:
        """Word pictures of slice sources as the configuration says."""
        config = self.config
        return SliceStream(
            sources,
            config=config.model,
            lexicon=lexicon or load_lexicon(),
            weights=weights,
            shape=(config.rows, config.columns),
            batch=config.batch,
            phrases=config.phrases,
            contrast_phrases=config.contrast_phrases,
            seed=config.seed,
            rank=self.rank,
            world=self.world,
            workers=config.workers,
        )


class Builder(Protocol):
    """Makes one stream."""

    def __call__(self, request: SourceRequest) -> BatchStream:
        """Build the stream of ``request.source`` for one process of the run.

        Raises
        ------
        ConfigError
            An option is unknown or missing.
        """
        ...


SOURCES: dict[str, str] = {
    "derived": "training.fit.sources:derived",
    "derived-brains": "training.fit.sources:derived",
    "derived-phantoms": "training.fit.sources:derived",
    "derived-radiographs": "training.fit.sources:derived",
    "open-volumes": "training.fit.sources:open_volumes",
    "toy": "training.fit.toy:toy_stream",
}
"""Source name to ``module:function`` of its :class:`Builder`, sorted."""


def build_stream(config: TrainingConfig, world: World) -> MixedStream:
    """Build all sources of a run for one of its processes.

    Raises
    ------
    ConfigError
        A source is unknown, or two have one name.
    """
    streams: dict[str, BatchStream] = {}
    for source in config.sources:
        if source.name in streams:
            raise ConfigError(f"two sources are called {source.name}")
        request = SourceRequest(source, config, world.rank, world.size)
        streams[source.name] = _builder(source)(request)
    weights = {source.name: source.weight for source in config.sources}
    return MixedStream(streams, weights, seed=config.seed)


def _builder(source: SourceConfig) -> Builder:
    if source.name not in SOURCES:
        raise ConfigError(
            f"no source is called {source.name}; there are {', '.join(sorted(SOURCES))}"
        )
    module, _, function = SOURCES[source.name].partition(":")
    builder: Builder = getattr(import_module(module), function)
    return builder


def derived(request: SourceRequest) -> BatchStream:
    """Mix sources of ``training.derived.builders`` within each batch.

    Options: ``weights``, a table from builder name to weight; ``folder``, where the
    TotalSegmentator reference files lie, else they are fetched once and kept.
    """
    from dicom_node.opendata import cache_folder
    from training.derived.builders import BUILDERS

    options: dict[str, Any] = dict(request.source.options)
    weights: dict[str, float] = dict(options.pop("weights", {}))
    folder = _reference(options)
    if unknown := sorted(set(weights) - set(BUILDERS)):
        known = ", ".join(sorted(BUILDERS))
        raise ConfigError(f"no derived source {', '.join(unknown)}; there are {known}")
    if not weights:
        raise ConfigError("derived sources need a table of weights")
    sources = [BUILDERS[name](folder, cache_folder()) for name in weights]
    return request.slices(sources, tuple(weights.values()))


def _reference(options: dict[str, Any]) -> Path:
    """Take ``folder`` out of the options; refuse what is left."""
    from dicom_node.opendata import fetch_totalsegmentator

    folder = options.pop("folder", None)
    if options:
        raise ConfigError(f"this source takes no {', '.join(sorted(options))}")
    return fetch_totalsegmentator() if folder is None else Path(folder)


def open_volumes(request: SourceRequest) -> BatchStream:
    """Mix the open CT and MR volumes within each batch.

    Option ``folder`` names where the reference files lie; without it they are fetched
    once and kept.
    """
    from training.derived.outlined import load_upper_abdomen
    from training.derived.volume_source import VolumeSource
    from training.derived.volumes import load_training_volumes

    folder = _reference(dict(request.source.options))
    volumes = (*load_training_volumes(folder), load_upper_abdomen(folder))
    parts = {
        "thorax_cta": "CHEST",
        "abdomen_mr": "ABDOMEN",
        "upper_abdomen_cta": "ABDOMEN",
    }
    sources = [VolumeSource(v, parts.get(v.name)) for v in volumes]
    return request.slices(sources, request.config.volume_weights)
