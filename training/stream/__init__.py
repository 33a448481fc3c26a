"""Stream batches from shards: shuffled, shared out, resumable to the sample."""

from __future__ import annotations

from training.stream.stream import ShardStream

__all__ = ["ShardStream"]
