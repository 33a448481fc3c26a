"""Draw batches from several streams by weight, repeatably."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.batch import Batch, BatchStream
from training.errors import ConfigError

__all__ = ["MixedStream"]


class MixedStream:
    """Take every batch from one of several streams; a ``BatchStream`` itself.

    Which stream gives batch n depends on the seed, n and the weights alone, so that all
    processes of a run take from the same one.

    Parameters
    ----------
    streams
        Name to stream.
    weights
        Name to a positive number on any scale; 0 rests a stream.
    """

    def __init__(
        self,
        streams: Mapping[str, BatchStream],
        weights: Mapping[str, float],
        *,
        seed: int,
    ) -> None:
        self._streams = dict(streams)
        self._seed = seed
        self._done = 0
        self.reweigh(weights)

    def reweigh(self, weights: Mapping[str, float]) -> None:
        """Change how often each stream is drawn from now on.

        Raises
        ------
        ConfigError
            A name is missing or unknown, or the weights have no positive sum.
        """
        if set(weights) != set(self._streams):
            odd = sorted(set(weights) ^ set(self._streams))
            raise ConfigError(f"no weight or no stream for {', '.join(odd)}")
        values = np.array([weights[name] for name in self._streams], dtype=np.float64)
        if (values < 0).any() or not values.sum() > 0:
            raise ConfigError("weights of sources are positive, at least one of them")
        self._shares = values / values.sum()

    def __iter__(self) -> MixedStream:
        return self

    def __next__(self) -> Batch:
        rng = np.random.default_rng((self._seed, 2, self._done))
        name = str(rng.choice(list(self._streams), p=self._shares))
        batch = next(self._streams[name])
        self._done += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the mixture and in each stream."""
        return {
            "batches": self._done,
            "streams": {n: stream.state_dict() for n, stream in self._streams.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place in the mixture and in each stream.

        Raises
        ------
        ConfigError
            The state is one of other streams.
        """
        if set(state["streams"]) != set(self._streams):
            odd = sorted(set(state["streams"]) ^ set(self._streams))
            raise ConfigError(f"the saved run had other sources: {', '.join(odd)}")
        self._done = int(state["batches"])
        for name, part in state["streams"].items():
            self._streams[name].load_state_dict(part)
