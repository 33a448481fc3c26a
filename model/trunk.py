"""See: turn a short stack of slices into a feature pyramid, told the modality."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import MedGLIPConfig
from model.modality import MODALITIES

__all__ = ["CONDITION", "ConvBlock", "ImageTrunk"]

CONDITION = 32
"""Width of the learned vector of a modality that steers the image features."""


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with group normalisation and one FiLM modulation."""

    def __init__(self, incoming: int, outgoing: int, condition: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, padding=1)
        self.norm1 = nn.GroupNorm(8, outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, outgoing)
        self.film = nn.Linear(condition, 2 * outgoing)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (batch, outgoing, rows, columns) for a (batch, 32) condition."""
        scale, shift = self.film(condition)[..., None, None].chunk(2, dim=1)
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        x = torch.addcmul(shift, self.norm2(self.conv2(x)), 1 + scale)
        return functional.relu(x, inplace=True)


class _GlobalMixer(nn.Module):
    """Self-attention over the coarsest map: every organ may look at every other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.GELU(),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (batch, rows*columns, channels)
        y = self.norm1(tokens)
        tokens = tokens + self.attention(y, y, y, need_weights=False)[0]
        tokens = tokens + self.mlp(self.norm2(tokens))
        result: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return result


class ImageTrunk(nn.Module):
    """Encode and decode a picture at strides 1, 2, 4, 8 and 16.

    The modality token modulates every block (FiLM), so one trunk serves all
    modalities; a modality without training data starts as the neutral one.

    References
    ----------
    O. Ronneberger et al., U-Net, MICCAI 2015. E. Perez et al., FiLM, AAAI 2018.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        channels = config.trunk_channels
        self.film = config.film
        self.modality = nn.Embedding(len(MODALITIES), CONDITION)
        incoming = (config.input_channels, *channels[:-1])
        self.down = nn.ModuleList(
            ConvBlock(a, b, CONDITION) for a, b in zip(incoming, channels, strict=True)
        )
        self.mixer = _GlobalMixer(channels[-1], config.bottleneck_heads)
        self.up = nn.ModuleList(
            ConvBlock(fine + coarse, fine, CONDITION)
            for fine, coarse in pairwise(channels)
        )

    def forward(self, pixels: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps, finest first.

        Parameters
        ----------
        pixels
            (batch, input_channels, rows, columns), both sides multiples of 16.
        modality
            (batch,) rows of ``MODALITIES``.
        """
        condition = self.modality(modality)  # (batch, 32)
        if not self.film:
            condition = torch.zeros_like(condition)
        skips: list[Tensor] = []
        x = pixels
        for depth, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if depth else x, condition)
            skips.append(x)
        x = self.mixer(x)
        pyramid = [x]
        for depth in reversed(range(len(self.up))):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[depth](torch.cat((skips[depth], x), dim=1), condition)
            pyramid.append(x)
        return tuple(reversed(pyramid))
