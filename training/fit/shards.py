"""Turn sharded tensors into whole ones and back, and shard a network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = ["gather", "gather_nested", "scatter", "shard_module"]


def shard_module(module: nn.Module) -> None:
    """Split the parameters of `module` over all processes (FSDP2), in place.

    Layers of encoders and decoders are gathered one at a time, the rest at once.

    References
    ----------
    Y. Zhao et al., PyTorch FSDP, VLDB 2023.
    """
    from torch.distributed.fsdp import fully_shard

    for part in module.modules():
        if isinstance(part, nn.ModuleList) and len(part) > 1:
            for layer in part:
                if len(list(layer.children())) > 2:
                    fully_shard(layer)
    fully_shard(module)


def gather(value: Tensor) -> Tensor:
    """Return the whole tensor on the CPU; every process has to call it."""
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    copy: Tensor = whole.detach().cpu().clone()
    return copy


def scatter(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor laid out as `like` is: its device, its shards."""
    moved = value.to(like.device, like.dtype)
    if isinstance(like, DTensor):
        return distribute_tensor(moved, like.device_mesh, like.placements)
    return moved


def gather_nested(value: Any) -> Any:
    """Return nested plain values with every tensor whole and on the CPU."""
    if isinstance(value, Tensor):
        return gather(value)
    if isinstance(value, dict):
        return {key: gather_nested(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(gather_nested(item) for item in value)
    return value
