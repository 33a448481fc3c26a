"""Lay modality tokens, prefix and phrases in one row of words for the core.

Like a caption of sub-sentences: words attend to the words of their own sub-sentence
only, and every word knows which phrase owns it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Caption", "Piece", "join_pieces", "phrase_piece", "whole_piece"]


@dataclass
class Piece:
    """Some tokens of every picture's caption, padding among them."""

    states: Tensor
    """(batch, tokens, dim)"""
    mask: Tensor
    """(batch, tokens) bool, True = real"""
    block: Tensor
    """(batch, tokens) int64: tokens of one number are one sub-sentence"""
    position: Tensor
    """(batch, tokens) int64: place within the sub-sentence"""
    owner: Tensor
    """(batch, tokens) int64: asked phrase that the token is a word of, -1 = none"""
    selects: Tensor
    """(batch, tokens) bool: the token may choose places of the picture"""


Caption = Piece
"""All pieces side by side, real tokens first."""


def whole_piece(
    states: Tensor, mask: Tensor, *, block: int, selects: bool = False
) -> Piece:
    """Make one sub-sentence that belongs to no phrase: a prefix or a delimiter."""
    position = (mask.long().cumsum(1) - 1).clamp(min=0)
    return Piece(
        states=states,
        mask=mask,
        block=torch.full_like(position, block),
        position=position,
        owner=torch.full_like(position, -1),
        selects=mask & selects,
    )


def phrase_piece(
    states: Tensor, mask: Tensor, *, words: Tensor, asked: Tensor, first_block: int
) -> Piece:
    """Make the sub-sentences of the asked phrases.

    Parameters
    ----------
    states, mask
        (phrases, tokens, dim) and (phrases, tokens): the tokens that are read.
    words
        (phrases, tokens) bool: those of them that count for the phrase.
    asked
        (batch, n) rows of the phrases, -1 = padding.
    """
    batch, count = asked.shape
    tokens = mask.shape[1]
    rows = asked.clamp(min=0)
    real = mask[rows] & (asked >= 0)[..., None]  # (batch, n, tokens)
    position = (real.long().cumsum(-1) - 1).clamp(min=0)
    number = torch.arange(count, device=asked.device)[None, :, None]
    number = number.expand(batch, count, tokens)
    counts = words[rows] & real
    return Piece(
        states=states[rows].flatten(1, 2),  # (batch, n * tokens, dim)
        mask=real.flatten(1),
        block=(number + first_block).flatten(1),
        position=position.flatten(1),
        owner=torch.where(counts, number, -1).flatten(1),
        selects=real.flatten(1),
    )


def join_pieces(pieces: list[Piece]) -> Caption:
    """Lay pieces end to end, move padding to the end and cut what all lack."""
    mask = torch.cat([piece.mask for piece in pieces], dim=1)
    longest = max(1, int(mask.sum(1).max()))
    order = (~mask).long().argsort(dim=1, stable=True)[:, :longest]

    def joined(name: str) -> Tensor:
        values = torch.cat([getattr(piece, name) for piece in pieces], dim=1)
        return values.gather(1, order)

    states = torch.cat([piece.states for piece in pieces], dim=1)
    wide = order[..., None].expand(-1, -1, states.shape[-1])
    return Caption(
        states=states.gather(1, wide),  # (batch, words, dim)
        mask=joined("mask"),
        block=joined("block"),
        position=joined("position"),
        owner=torch.where(joined("mask"), joined("owner"), -1),
        selects=joined("selects"),
    )
