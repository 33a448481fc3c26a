"""Read words: what the text encoder says of every token, frozen or trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from model.config import MedGLIPConfig
from model.text import TextBatch

__all__ = ["CLS", "FULL_STOP", "SEP", "Reading", "WordReader"]

CLS, SEP, FULL_STOP = 101, 102, 1012
"""Ids in the vocabulary of bert-base-uncased that part one phrase from the next."""


@dataclass
class Reading:
    """The phrases as the network understands them; no picture is involved."""

    vectors: Tensor
    """(phrases, phrase_dim) of unit length"""
    states: Tensor
    """(phrases, tokens, text_hidden)"""
    tokens: Tensor
    """(phrases, tokens) bool: tokens that the core reads"""
    words: Tensor
    """(phrases, tokens) bool: those of them that count for the phrase"""
    opening: Tensor | None = None
    """(1, text_hidden) state of the token before all phrases; None: there is none"""
    closing: Tensor | None = None
    """(1, text_hidden) state of the token after them"""
    prefix: Tensor | None = None
    """(batch, prefix tokens, text_hidden)"""
    prefix_mask: Tensor | None = None


class WordReader(nn.Module):
    """Give every token its state.

    With ``minilm`` the states come with the text; [CLS] and [SEP] are no words. With
    ``bert`` each phrase is read alone, as a sub-sentence that ends in a full stop, and
    the caption opens with [CLS] and closes with [SEP], as Grounding DINO writes it.

    References
    ----------
    S. Liu et al., Grounding DINO, ECCV 2024: sub-sentence level text features.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        self.frozen = config.text_encoder == "minilm"
        if not self.frozen:
            bert: Any = BertModel(
                BertConfig(
                    vocab_size=config.bert_vocabulary,
                    hidden_size=config.text_hidden,
                    num_hidden_layers=config.bert_layers,
                    num_attention_heads=config.bert_heads,
                    intermediate_size=config.bert_intermediate,
                    max_position_embeddings=config.bert_positions,
                ),
                add_pooling_layer=False,
            )
            self.text_backbone = bert

    def forward(self, text: TextBatch) -> Reading:
        """Return the states of the phrases, without vectors yet.

        Raises
        ------
        ValueError
            States are missing where the encoder is no part of the network.
        """
        if self.frozen:
            if text.hidden is None:
                raise ValueError("the text comes without states of the frozen encoder")
            inner = text.mask & (text.input_ids != CLS) & (text.input_ids != SEP)
            return Reading(
                vectors=text.hidden.new_zeros(0),
                states=text.hidden,
                tokens=inner,
                words=inner,
                prefix=text.prefix,
                prefix_mask=text.prefix_mask,
            )
        ends = torch.tensor([[CLS], [SEP]], device=text.mask.device)
        opening, closing = self._encode(ends, torch.ones_like(ends, dtype=torch.bool))
        prefix = text.prefix
        if text.prefix_ids is not None and text.prefix_mask is not None:
            prefix = self._encode(text.prefix_ids, text.prefix_mask)
        states = self._encode(text.input_ids, text.mask)
        return Reading(
            vectors=states.new_zeros(0),
            states=states,
            tokens=text.mask,
            words=text.mask & (text.input_ids != FULL_STOP),
            opening=opening,
            closing=closing,
            prefix=prefix,
            prefix_mask=text.prefix_mask,
        )

    def attributes(self, text: TextBatch) -> Tensor | None:
        """Return the states of the attribute texts, or None where there are none."""
        if text.attributes is not None or text.attribute_ids is None:
            return text.attributes
        if text.attribute_mask is None:
            raise ValueError("attribute ids come without their mask")
        return self._encode(text.attribute_ids, text.attribute_mask)

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (rows, tokens, text_hidden); rows without a token are zero."""
        safe = mask.clone()
        safe[:, 0] = True  # attention over nothing would be no number
        found = self.text_backbone(input_ids=ids, attention_mask=safe.long())
        states: Tensor = found.last_hidden_state
        return states * mask[..., None]
