"""Turn sharded tensors into whole ones and back, and shard a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor

__all__ = [
    "clip_gradients",
    "gather",
    "gather_nested",
    "scatter",
    "shard_module",
    "share_gradients",
]


def shard_module(module: nn.Module) -> list[nn.Parameter]:
    """Split the parameters of `module` over all processes (FSDP2), in place.

    Layers of encoders and decoders are gathered one at a time, the rest at once.

    Returns
    -------
    The parameters that stay whole: scalars cannot be split. Their gradients are this
    process's own, see :func:`share_gradients`.

    References
    ----------
    Y. Zhao et al., PyTorch FSDP, VLDB 2023.
    """
    from torch.distributed.fsdp import fully_shard

    whole = {value for value in module.parameters() if not value.dim()}
    for part in list(module.modules()):
        if isinstance(part, nn.ModuleList) and len(part) > 1:
            for layer in part:
                if len(list(layer.children())) > 2:
                    fully_shard(layer, ignored_params=whole)
    fully_shard(module, ignored_params=whole)
    return [value for value in module.parameters() if not value.dim()]


@torch.no_grad()
def share_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of parameters that every process holds whole."""
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients down to a norm of at most `largest`; return the norm before.

    Sharded and whole gradients may stand side by side.

    References
    ----------
    R. Pascanu et al., On the difficulty of training recurrent networks, ICML 2013.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
    squares = torch.zeros(2, device=parts[0].device)
    for gradient, part in zip(gradients, parts, strict=True):
        squares[int(isinstance(gradient, DTensor))] += part.float().pow(2).sum()
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        shards = squares[1].clone()
        dist.all_reduce(shards)
        squares[1] = shards
    norm = squares.sum().sqrt()
    scale = (largest / (norm + 1e-6)).clamp(max=1.0)
    for part in parts:
        part.mul_(scale)
    return norm


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
