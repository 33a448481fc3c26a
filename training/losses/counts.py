"""Divide by counts of the whole world: the same loss on one process and on many.

Every process divides its sum by its share of the world's count, and averaging
gradients then gives the sum over the count, as if one process had seen everything.

References
----------
N. Carion et al., DETR, ECCV 2020: the number of boxes is averaged over processes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["mean_where", "world_share"]


def world_share(count: Tensor) -> Tensor:
    """Return max(1, sum of `count` over all processes) / number of processes.

    Every process has to call it, in the same order; alone it is ``max(1, count)``.
    """
    total = count.detach().to(torch.float32)
    if not (dist.is_available() and dist.is_initialized()):
        return total.clamp(min=1)
    total = total.clone()
    dist.all_reduce(total)
    return total.clamp(min=1) / dist.get_world_size()


def mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Average over the chosen entries of all processes; zero when there are none.

    Parameters
    ----------
    values, where
        Of one shape; `where` is bool or a weight of each entry.
    """
    weight = where.to(values.dtype)
    return (values * weight).sum() / world_share((where > 0).sum()).to(values.dtype)
