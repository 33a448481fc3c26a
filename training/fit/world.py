"""Say which process this is among those that ``torchrun`` started, and on what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import distributed as dist

from training.errors import ConfigError

__all__ = ["World", "start_world"]


@dataclass(frozen=True)
class World:
    """One process of a run."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Let every process arrive here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def start_world(device: str = "auto") -> Iterator[World]:
    """Join the process group that the environment describes, and leave it at the end.

    Parameters
    ----------
    device
        ``auto``, or a torch device. With several processes on GPUs each takes the one
        of its local rank.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = (int(os.environ.get(k, "0")) for k in ("RANK", "LOCAL_RANK"))
    place = _place(device, local)
    if size == 1:
        yield World(device=place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank=rank, size=size, device=place)
    finally:
        dist.destroy_process_group()


def _place(device: str, local: int) -> torch.device:
    has_gpu: bool = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"no device is called {device!r}") from error
    if place.type != "cuda":
        return place
    if not has_gpu:
        raise ConfigError("no GPU is to be had; say device = 'cpu'")
    if str(place) == "cuda":  # without a number: one GPU per process of a machine
        place = torch.device("cuda", local)
    torch.cuda.set_device(place)
    return place
