"""Write the core's caption: modality tokens, prefix, then the phrases' words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.caption import Caption, Piece, join_pieces, phrase_piece, whole_piece
from model.config import MedGLIPConfig
from model.modality import MODALITIES
from model.words import Reading

__all__ = ["CoreText"]


class CoreText(nn.Module):
    """Write the caption: modality tokens, prefix, then the phrases' words.

    The words are projected states of the text encoder; the phrase's own vector, which
    has learned from the dense branch and knows the attributes, joins each of its words
    through weights that start at zero.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        dim = config.core_dim
        self.text_prefix = config.text_prefix
        self.text_projection = nn.Linear(config.text_hidden, dim)
        self.phrase_projection = nn.Linear(config.phrase_dim, dim)
        nn.init.zeros_(self.phrase_projection.weight)
        nn.init.zeros_(self.phrase_projection.bias)
        if config.modality_tokens:
            self.modality = nn.Parameter(
                torch.randn(len(MODALITIES), config.core_modality_tokens, dim)
            )

    def forward(self, reading: Reading, modality: Tensor, asked: Tensor) -> Caption:
        """Return the caption of each picture.

        Raises
        ------
        ValueError
            There are fewer prefixes than pictures.
        """
        batch = len(asked)
        pieces: list[Piece] = []
        if reading.opening is not None:
            pieces.append(self._delimiter(reading.opening, batch, block=0))
        if hasattr(self, "modality"):
            tokens = self.modality[modality]  # (batch, tokens, dim)
            real = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
            pieces.append(whole_piece(tokens, real, block=1))
        prefix, prefix_mask = reading.prefix, reading.prefix_mask
        if self.text_prefix and prefix is not None and prefix_mask is not None:
            states = self.text_projection(_per_picture(prefix, batch))
            real = _per_picture(prefix_mask, batch)
            pieces.append(whole_piece(states, real, block=2))
        states = self.text_projection(reading.states)  # (phrases, tokens, dim)
        states = states + self.phrase_projection(reading.vectors)[:, None]
        pieces.append(
            phrase_piece(
                states, reading.tokens, words=reading.words, asked=asked, first_block=4
            )
        )
        if reading.closing is not None:
            pieces.append(self._delimiter(reading.closing, batch, block=3))
        return join_pieces(pieces)

    def _delimiter(self, state: Tensor, batch: int, *, block: int) -> Piece:
        states = self.text_projection(state).expand(batch, 1, -1)
        real = states.new_ones(batch, 1, dtype=torch.bool)
        return whole_piece(states, real, block=block, selects=True)


def _per_picture(rows: Tensor, batch: int) -> Tensor:
    """Return the rows of the first pictures; a single row stands for all."""
    if len(rows) == 1:
        return rows.expand(batch, *rows.shape[1:])
    if len(rows) < batch:
        raise ValueError(f"{len(rows)} prefixes for {batch} pictures")
    return rows[:batch]
