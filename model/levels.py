"""Lay the searched levels of a pyramid end to end, as the stock layers read them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import MMGroundingDinoConfig

from model.config import MedGLIPConfig

__all__ = ["anchor_boxes", "describe_levels", "level_projections", "stock_settings"]


def stock_settings(config: MedGLIPConfig, *, levels: int) -> Any:
    """Describe our core in the words of the stock classes."""
    return MMGroundingDinoConfig(
        d_model=config.core_dim,
        num_queries=config.core_queries,
        num_feature_levels=levels,
        encoder_layers=config.core_layers,
        decoder_layers=config.core_layers,
        encoder_ffn_dim=config.core_ffn,
        decoder_ffn_dim=config.core_ffn,
        encoder_attention_heads=config.core_heads,
        decoder_attention_heads=config.core_heads,
        encoder_n_points=config.core_points,
        decoder_n_points=config.core_points,
        dropout=0.0,
        fusion_droppath=0.0,
        disable_custom_kernels=True,
    )


def level_projections(config: MedGLIPConfig) -> nn.ModuleList:
    """Bring every searched level to the core's width."""
    dim, groups = config.core_dim, config.core_norm_groups
    widths = config.trunk_channels[2:]
    levels = [
        nn.Sequential(nn.Conv2d(width, dim, 1), nn.GroupNorm(groups, dim))
        for width in widths
    ]
    for extra in range(config.core_extra_levels):
        incoming = dim if extra else widths[-1]
        levels.append(
            nn.Sequential(
                nn.Conv2d(incoming, dim, 3, stride=2, padding=1),
                nn.GroupNorm(groups, dim),
            )
        )
    return nn.ModuleList(levels)


def describe_levels(shapes: list[tuple[int, int]], like: Tensor) -> dict[str, Any]:
    """Say where each level lies among the places."""
    sizes = torch.tensor(shapes, device=like.device)
    return {
        "spatial_shapes": sizes,
        "spatial_shapes_list": shapes,
        "level_start_index": torch.cat(
            (sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1])
        ),
    }


def anchor_boxes(shapes: list[tuple[int, int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return one starting box per place as logits (places, 4), and which are usable.

    Places on the very edge are not: their box would be the whole picture's corner.
    """
    boxes = []
    for level, (rows, columns) in enumerate(shapes):
        y = (torch.arange(rows, device=like.device) + 0.5) / rows
        x = (torch.arange(columns, device=like.device) + 0.5) / columns
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        size = torch.full_like(grid, 0.05 * 2.0**level)
        boxes.append(torch.cat((grid, size), dim=-1).reshape(-1, 4))
    shares = torch.cat(boxes)
    usable = ((shares > 0.01) & (shares < 0.99)).all(-1)
    logits = torch.logit(shares).masked_fill(~usable[:, None], 100.0)
    return logits.to(like.dtype), usable
