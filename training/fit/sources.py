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
    "shards": "training.fit.sources:shards",
    "slices": "training.fit.sources:slices",
    "toy": "training.fit.toy:toy_stream",
}
"""Kind of source to ``module:function`` of its :class:`Builder`, sorted."""


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
    from training.derived.builders import BUILDERS

    kind = source.kind or ("shards" if source.shards else source.name)
    if kind in BUILDERS and not source.kind:
        kind = "slices"
    if kind not in SOURCES:
        known = ", ".join(sorted({*SOURCES, *BUILDERS}))
        raise ConfigError(f"no source is called {kind}; there are {known}")
    module, _, function = SOURCES[kind].partition(":")
    builder: Builder = getattr(import_module(module), function)
    return builder


def slices(request: SourceRequest) -> BatchStream:
    """Mix drawn sources within each batch.

    Options are names of ``training.derived.builders.BUILDERS`` and their weights;
    without any, the source's own name is the one that is drawn.
    """
    from dicom_node.opendata import cache_folder, fetch_totalsegmentator
    from training.derived.builders import BUILDERS

    weights = dict(request.source.options) or {request.source.name: 1.0}
    if unknown := sorted(set(weights) - set(BUILDERS)):
        raise ConfigError(
            f"no drawn source is called {unknown[0]}; "
            f"there are {', '.join(sorted(BUILDERS))}"
        )
    reference, cache = fetch_totalsegmentator(), cache_folder()
    sources = [BUILDERS[name](reference, cache) for name in weights]
    return request.slices(sources, [float(weight) for weight in weights.values()])


def shards(request: SourceRequest) -> BatchStream:
    """Stream a build; options are those of ``training.stream.stream.ShardStream``."""
    from training.stream.stream import ShardStream

    source, config = request.source, request.config
    if source.shards is None:
        raise ConfigError(f"source {source.name}: say where its shards are")
    try:
        return ShardStream(
            Path(source.shards),
            config=config.model,
            shape=(config.rows, config.columns),
            batch=config.batch,
            phrases=config.phrases,
            contrast_phrases=config.contrast_phrases,
            seed=config.seed,
            rank=request.rank,
            world=request.world,
            workers=config.workers,
            **source.options,
        )
    except TypeError as error:
        raise ConfigError(f"source {source.name}: {error}") from error


def open_volumes(request: SourceRequest) -> BatchStream:
    """Mix the open CT and MR volumes within each batch, by ``volume_weights``.

    Option ``folder`` names where the reference files lie; without it they are fetched
    once and kept.
    """
    from dicom_node.opendata import fetch_totalsegmentator
    from training.derived.outlined import load_upper_abdomen
    from training.derived.volume_source import VolumeSource
    from training.derived.volumes import load_training_volumes

    options: dict[str, Any] = dict(request.source.options)
    folder = Path(options.pop("folder", None) or fetch_totalsegmentator())
    if options:
        raise ConfigError(f"open-volumes takes no {', '.join(sorted(options))}")
    volumes = (*load_training_volumes(folder), load_upper_abdomen(folder))
    parts = {
        "thorax_cta": "CHEST",
        "abdomen_mr": "ABDOMEN",
        "upper_abdomen_cta": "ABDOMEN",
    }
    sources = [VolumeSource(v, parts.get(v.name)) for v in volumes]
    return request.slices(sources, request.config.volume_weights)
