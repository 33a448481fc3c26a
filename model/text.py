"""Read: a frozen sentence encoder, and a small adapter that learns anatomy words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from model.config import MedGLIPConfig

__all__ = [
    "PhraseAdapter",
    "TextBatch",
    "TextEncoder",
    "TextTokens",
    "load_tokenizer",
    "normal_text",
]

TextTokens = tuple[Tensor, Tensor]
"""Hidden states (phrases, tokens, hidden) and a mask (phrases, tokens), True = real."""


@dataclass
class TextBatch:
    """What the network reads: P phrases, shared by the B pictures of a batch.

    ``model.processor.Processor`` builds it, for training and serving alike.
    """

    input_ids: Tensor
    """(P, T) int64"""
    mask: Tensor
    """(P, T) bool, True = real"""
    hidden: Tensor | None
    """(P, T, H) states of a frozen encoder; None: the network encodes `input_ids`"""
    attributes: Tensor | None = None
    """(P, A, H) states of what the knowledge file says; None: the bank is off"""
    attribute_mask: Tensor | None = None
    """(P, A) bool; a row of False = nothing is known of the phrase"""
    prefix: Tensor | None = None
    """(B, S, H) states of the modality prefix "ct abdomen" of each picture; B may be 1
    where it is the same for all"""
    prefix_mask: Tensor | None = None
    """(B, S) bool"""
    parent: Tensor | None = None
    """(P,) int64 row of the containing phrase, -1 = none among these"""
    attribute_ids: Tensor | None = None
    """(P, A) int64, where the network encodes them itself"""
    prefix_ids: Tensor | None = None
    """(B, S) int64, where the network encodes them itself"""

    def __len__(self) -> int:
        """Return the number of phrases."""
        return len(self.input_ids)

    def to(self, device: str | torch.device) -> TextBatch:
        """Return the batch on another device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def load_tokenizer(config: MedGLIPConfig) -> Any:
    """Return the word pieces of bert-base-uncased that the pinned package carries."""
    folder = Path(str(resources.files(config.text_package))) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class TextEncoder:
    """Encode phrases with the frozen MiniLM that a pinned package carries.

    It is no part of the checkpoint: its weights come from the Python package named
    in the configuration, are compared with the recorded SHA-256 and are loaded from
    disk only. Its vocabulary is that of bert-base-uncased, whose special ids
    Grounding DINO takes for granted.

    Raises
    ------
    ValueError
        The installed weights are not those that the checkpoint was trained with.
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
        self._tokenizer = load_tokenizer(config)
        self._longest = config.max_phrase_tokens
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

    def tokens(self, text: str, *, longest: int) -> list[int]:
        """Return word piece ids with [CLS] and [SEP], at most `longest` of them."""
        ids: list[int] = self._tokenizer.encode(normal_text(text)).ids
        return [*ids[: longest - 1], ids[-1]] if len(ids) > longest else ids

    @torch.no_grad()
    def states(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return (tokens, hidden) of each row of ids.

        Every row goes through the network alone: in company the last bits of its
        states would depend on the others, and a run that is continued would read its
        phrases otherwise than the run that was stopped.
        """
        return [
            self._bert(input_ids=torch.tensor([list(row)])).last_hidden_state[0].clone()
            for row in rows
        ]

    def encode(self, phrases: Sequence[str]) -> TextTokens:
        """Return token states of each phrase, padded to the longest."""
        rows = [self.tokens(phrase, longest=self._longest) for phrase in phrases]
        if not rows:
            hidden = self._bert.config.hidden_size
            return torch.zeros(0, 1, hidden), torch.zeros(0, 1, dtype=torch.bool)
        states = self.states(rows)
        return (
            nn.utils.rnn.pad_sequence(states, batch_first=True),
            nn.utils.rnn.pad_sequence(
                [torch.ones(len(row), dtype=torch.bool) for row in rows],
                batch_first=True,
            ),
        )


def normal_text(phrase: str) -> str:
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
