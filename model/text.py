"""Read: a frozen sentence encoder, and a small adapter that learns anatomy words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from model.config import MedGLIPConfig

__all__ = ["PhraseAdapter", "TextEncoder", "TextTokens"]

TextTokens = tuple[Tensor, Tensor]
"""Hidden states (phrases, tokens, 384) and a mask (phrases, tokens), True = real."""


class TextEncoder:
    """Encode phrases with the frozen MiniLM that a pinned package carries.

    It is no part of the checkpoint: its weights come from the Python package named
    in the configuration, are compared with the recorded SHA-256 and are loaded from
    disk only. Its vocabulary is that of bert-base-uncased, whose special ids
    Grounding DINO takes for granted.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        folder = Path(str(resources.files(config.text_package))) / "model"
        weights = folder / "model.safetensors"
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
        if found != config.text_sha256:
            raise ValueError(
                f"text encoder {weights.name} has SHA-256 {found}, "
                f"the checkpoint was trained with {config.text_sha256}"
            )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(config.max_phrase_tokens)
        self._tokenizer.no_padding()
        bert: Any = BertModel(
            BertConfig.from_json_file(str(folder / "config.json")),
            add_pooling_layer=False,
        )
        state = {
            key: value
            for key, value in load_file(weights).items()
            if not key.startswith("pooler.") and not key.endswith("position_ids")
        }
        bert.load_state_dict(state, strict=True)
        self._bert = bert.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, phrases: Sequence[str]) -> TextTokens:
        """Return token states of each phrase, padded to the longest."""
        if not phrases:
            return torch.zeros(0, 1, 384), torch.zeros(0, 1, dtype=torch.bool)
        ids = [self._tokenizer.encode(_normal(phrase)).ids for phrase in phrases]
        length = max(map(len, ids))
        tokens = torch.zeros(len(ids), length, dtype=torch.long)
        mask = torch.zeros(len(ids), length, dtype=torch.bool)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = True
        hidden: Tensor = self._bert(
            input_ids=tokens, attention_mask=mask.long()
        ).last_hidden_state
        return hidden * mask[..., None], mask  # (phrases, tokens, 384)


def _normal(phrase: str) -> str:
    """Lower-case, single spaces, no closing full stop: one wording, one code."""
    return " ".join(phrase.lower().split()).rstrip(" .;:,")


class PhraseAdapter(nn.Module):
    """Turn token states into one unit vector per phrase.

    Pooling is learned: words such as "left" or "enlarged" weigh what the task
    needs, not what the sentence encoder gave them.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        dim = config.phrase_dim
        self.project = nn.Linear(config.text_hidden, dim)
        self.layer = nn.TransformerEncoderLayer(
            dim, 4, 2 * dim, dropout=0.1, batch_first=True, norm_first=True
        )
        self.score = nn.Linear(dim, 4)
        self.norm = nn.LayerNorm(4 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return (phrases, phrase_dim), each row of unit length."""
        x = self.project(hidden)  # (phrases, tokens, dim)
        x = self.layer(x, src_key_padding_mask=~mask)
        weights = self.score(x).masked_fill(~mask[..., None], -1e4).softmax(dim=1)
        pooled = torch.einsum("pth,ptd->phd", weights, x).flatten(1)
        return nn.functional.normalize(self.out(self.norm(pooled)), dim=-1)
