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


def open_volumes(request: SourceRequest) -> BatchStream:
    """Mix the open CT and MR volumes within each batch.

    Option ``folder`` names where the reference files lie; without it they are fetched
    once and kept.
    """
    from training.derived.volume_source import VolumeSource
    from training.derived.volumes import load_training_volumes

    options: dict[str, Any] = dict(request.source.options)
    folder = options.pop("folder", None)
    if options:
        raise ConfigError(f"open-volumes takes no {', '.join(sorted(options))}")
    if folder is None:
        from dicom_node.opendata import fetch_totalsegmentator

        folder = fetch_totalsegmentator()
    volumes = load_training_volumes(Path(folder))
    parts = {"thorax_cta": "CHEST", "abdomen_mr": "ABDOMEN"}
    sources = [VolumeSource(v, parts.get(v.name)) for v in volumes]
    return request.slices(sources, request.config.volume_weights)
