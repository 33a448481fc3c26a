"""Decode: refine queries layer by layer, with denoising queries beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Decoded", "hidden_keys", "run_decoder", "separate_groups", "sine_embedding"]


@dataclass
class Decoded:
    """The states of all layers, and the boxes each of them started from."""

    states: Tensor
    """(batch, layers, queries, dim), normalised"""
    references: Tensor
    """(batch, layers, queries, 4) in [0, 1], without gradient"""


def run_decoder(
    decoder: Any,
    queries: Tensor,
    *,
    boxes: Tensor,
    box_heads: Any,
    memory: Tensor,
    levels: dict[str, Any],
    text: Tensor,
    text_mask: Tensor,
    hidden: Tensor | None,
) -> Decoded:
    """Run the layers of a stock Grounding DINO decoder.

    The stock loop is bound to a fixed number of queries; this one takes any, and a
    mask between them.

    Parameters
    ----------
    queries, boxes
        (batch, queries, dim) and (batch, queries, 4): what the layers refine.
    memory
        (batch, places, dim) of the encoder; `levels` describes its layout.
    text, text_mask
        (batch, words, dim) and (batch, words), True = real.
    hidden
        (batch, 1, queries, queries) additive mask between queries, or None.
    """
    dim = queries.shape[-1]
    deaf = hidden_keys(~text_mask, dtype=queries.dtype)[:, None, None, :]
    seen = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
    count = len(levels["spatial_shapes_list"])
    states, references = [], []
    x, reference = queries, boxes.detach()
    for layer, box_head in zip(decoder.layers, box_heads, strict=True):
        references.append(reference)
        place = decoder.reference_points_head(sine_embedding(reference, dim // 2))
        x = layer(
            hidden_states=x,
            position_embeddings=place,
            reference_points=reference[:, :, None].expand(-1, -1, count, -1),
            spatial_shapes=levels["spatial_shapes"],
            spatial_shapes_list=levels["spatial_shapes_list"],
            level_start_index=levels["level_start_index"],
            vision_encoder_hidden_states=memory,
            vision_encoder_attention_mask=seen,
            text_encoder_hidden_states=text,
            text_encoder_attention_mask=deaf,
            self_attn_mask=hidden,
            output_attentions=False,
        )[0]
        # The stock model refines with the raw state and answers with the normalised.
        step = box_head(x) + torch.logit(reference, eps=1e-5)
        reference = step.sigmoid().detach()
        states.append(decoder.layer_norm(x))
    return Decoded(torch.stack(states, 1), torch.stack(references, 1))


def hidden_keys(hide: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Turn True = hidden into a number to add to attention scores."""
    return hide.to(dtype) * torch.finfo(dtype).min


def separate_groups(group: Tensor, padding: Tensor, *, queries: int) -> Tensor:
    """Return which query may not see which: (batch, 1, all, all), True = hidden.

    Parameters
    ----------
    group
        (D,) of the denoising queries, which follow the `queries` matching ones.
    padding
        (batch, D) True where a denoising query is none; nobody but itself sees it.
    """
    batch = len(padding)
    matching = group.new_full((queries,), -1)
    every = torch.cat((matching, group))
    apart = (every[:, None] != every[None, :])[None]  # (1, all, all)
    empty = torch.cat((padding.new_zeros(batch, queries), padding), dim=1)
    itself = torch.eye(len(every), dtype=torch.bool, device=group.device)
    return ((apart | empty[:, None, :]) & ~itself)[:, None]


def sine_embedding(boxes: Tensor, size: int) -> Tensor:
    """Embed each of the four numbers of a box in `size` sines and cosines.

    The order is y, x, width, height, as the released weights expect it.

    References
    ----------
    S. Liu et al., DAB-DETR, ICLR 2022.
    """
    step = torch.arange(size, dtype=torch.float32, device=boxes.device)
    wave = 10000 ** (2 * torch.div(step, 2, rounding_mode="floor") / size)
    angle = boxes[..., [1, 0, 2, 3], None] * (2 * torch.pi) / wave
    both = torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1)
    return both.flatten(-3).to(boxes.dtype)  # (batch, queries, 4 * size)
