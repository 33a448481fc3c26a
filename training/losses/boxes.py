"""Compare boxes: pure functions of centre-size or corner boxes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["box_cost", "box_giou", "to_xyxy"]


def to_xyxy(boxes: Tensor) -> Tensor:
    """Turn centre-size boxes into corner boxes."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def box_giou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU of corner boxes, broadcasting over all but the last.

    References
    ----------
    H. Rezatofighi et al., Generalized intersection over union, CVPR 2019.
    """
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2]).clamp(min=0).prod(-1)
    other = (second[..., 2:] - second[..., :2]).clamp(min=0).prod(-1)
    union = (area + other - overlap).clamp(min=1e-9)
    hull_low = torch.minimum(first[..., :2], second[..., :2])
    hull_high = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1).clamp(min=1e-9)
    return overlap / union - (hull - union) / hull


def box_cost(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return 5 L1 + 2 (1 - GIoU) of centre-size boxes, over all but the last axis.

    References
    ----------
    N. Carion et al., DETR, ECCV 2020.
    """
    distance = (boxes - wanted).abs().sum(-1)
    return 5 * distance + 2 * (1 - box_giou(to_xyxy(boxes), to_xyxy(wanted)))
