"""Align every pixel with every phrase, and decide whether the phrase is there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import MedGLIPConfig

__all__ = ["DenseHead", "PresenceHead"]


class DenseHead(nn.Module):
    """Align every pixel with every phrase: one inner product, text-made bias.

    With several hypotheses the phrase is projected several ways; each projection
    gives a mask of its own, and their mean is the answer. The differences start
    behind a gate of zero.

    References
    ----------
    K. Zou et al., uMedGround, TPAMI 2025: answers that disagree are uncertain.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        self.pixels = nn.Linear(config.trunk_channels[0], config.dense_dim)
        self.words = nn.Linear(config.phrase_dim, config.dense_dim)
        self.bias = nn.Linear(config.phrase_dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        nn.init.constant_(self.bias.bias, -4.0)
        self.hypotheses = config.hypotheses
        if config.hypotheses > 1:
            self.variants = nn.Linear(
                config.phrase_dim, config.hypotheses * config.dense_dim
            )
            self.variant_gate = nn.Parameter(torch.zeros(config.hypotheses, 1, 1))

    def forward(self, features: Tensor, phrases: Tensor) -> Tensor:
        """Return (batch, phrases, rows, columns) logits: the mean of the hypotheses."""
        words = self.words(phrases)  # (phrases, dense_dim)
        if self.hypotheses > 1:
            words = words + self._deltas(phrases).mean(0)
        return self._compare(features, words, phrases)

    def hypothesise(self, features: Tensor, phrases: Tensor) -> Tensor:
        """Return (hypotheses, batch, phrases, rows, columns) logits."""
        deltas = self._deltas(phrases)  # (hypotheses, phrases, dense_dim)
        words = self.words(phrases) + deltas
        flat = self._compare(
            features, words.flatten(0, 1), phrases.repeat(len(words), 1)
        )
        apart = flat.reshape(len(flat), len(words), len(phrases), *flat.shape[2:])
        return apart.transpose(0, 1)

    def _deltas(self, phrases: Tensor) -> Tensor:
        deltas: Tensor = self.variants(phrases)
        apart = deltas.reshape(len(phrases), self.hypotheses, -1)
        return apart.transpose(0, 1) * self.variant_gate

    def _compare(self, features: Tensor, words: Tensor, phrases: Tensor) -> Tensor:
        # Channels last, as the trunk lays its maps in memory when it serves.
        pixels = self.pixels(features.movedim(1, -1))  # (batch, rows, columns, dim)
        pixels = functional.relu(pixels, inplace=True)
        words = words * self.log_scale.exp()  # (phrases, dense_dim)
        logits = functional.linear(pixels, words, self.bias(phrases)[:, 0])
        return logits.movedim(-1, 1)  # (batch, phrases, rows, columns)


class PresenceHead(nn.Module):
    """Decide whether a phrase is on a slice: best pixels, global view, the words."""

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        self.best = config.presence_pixels
        self.scene = nn.Linear(config.trunk_channels[-1], config.dense_dim)
        self.words = nn.Linear(config.phrase_dim, config.dense_dim)
        self.bias = nn.Linear(config.phrase_dim, 1)
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, mask_logits: Tensor, coarse: Tensor, phrases: Tensor) -> Tensor:
        """Return (batch, phrases) logits."""
        strongest = mask_logits.flatten(2).topk(self.best, dim=-1).values.mean(-1)
        scene = self.scene(coarse.mean(dim=(2, 3)))  # (batch, dense_dim)
        match = scene @ self.words(phrases).T  # (batch, phrases)
        logits: Tensor = self.weight * strongest + match + self.bias(phrases).T
        return logits
