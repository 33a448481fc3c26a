"""See with a Swin transformer: stock levels for the core, fine maps for the masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SwinBackbone, SwinConfig

from model.config import MedGLIPConfig
from model.modality import MODALITIES
from model.trunk import CONDITION, ConvBlock

__all__ = ["SwinTrunk"]


class SwinTrunk(nn.Module):
    """Encode a picture at strides 8, 16 and 32, and decode it to strides 2 and 1.

    A small stem maps the neighbouring slices to the three channels that released
    weights expect: it starts by showing the centre slice through the soft-tissue, lung
    and bone window. The modality scales and shifts each coarse level (FiLM), starting
    as identity. The fine maps come from a top-down path and from the pixels.

    References
    ----------
    Z. Liu et al., Swin Transformer, ICCV 2021. T.-Y. Lin et al., Feature pyramid
    networks, CVPR 2017. E. Perez et al., FiLM, AAAI 2018.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        fine, half, *coarse = config.trunk_channels
        embed = config.swin_embed_dim
        if coarse != [2 * embed, 4 * embed, 8 * embed]:
            raise ValueError(
                f"trunk_channels end in {coarse}, but a Swin of width {embed} gives "
                f"{[2 * embed, 4 * embed, 8 * embed]}"
            )
        self.use_film = config.film
        self.stem = _window_stem(config)
        sizes: dict[str, Any] = {
            "embed_dim": embed,
            "depths": config.swin_depths,
            "num_heads": config.swin_heads,
            "window_size": config.swin_window,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        }
        backbone: Any = SwinBackbone(SwinConfig(**sizes))
        backbone.swin.layernorm = nn.Identity()  # feeds an output that nobody reads
        self.backbone = backbone
        self.modality = nn.Embedding(len(MODALITIES), CONDITION)
        films = [nn.Linear(CONDITION, 2 * channels) for channels in coarse]
        for layer in films:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.film = nn.ModuleList(films)
        self.lateral = nn.ModuleList(nn.Conv2d(c, half, 1) for c in (embed, *coarse))
        self.detail = nn.ModuleList(
            [
                ConvBlock(config.input_channels, fine, CONDITION),
                ConvBlock(fine, half, CONDITION),
            ]
        )
        self.up = nn.ModuleList(
            [
                ConvBlock(half + fine, fine, CONDITION),
                ConvBlock(half + half, half, CONDITION),
            ]
        )

    def forward(self, pixels: Tensor, modality: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps at strides 1, 2, 8, 16 and 32.

        Parameters
        ----------
        pixels
            (batch, input_channels, rows, columns), both sides multiples of 16.
        modality
            (batch,) rows of ``MODALITIES``.
        """
        condition = self.modality(modality)  # (batch, 32)
        if not self.use_film:
            condition = torch.zeros_like(condition)
        first, *coarse = self.backbone(self.stem(pixels)).feature_maps
        levels = [first]
        for film, level in zip(self.film, coarse, strict=True):
            scale, shift = film(condition)[..., None, None].chunk(2, dim=1)
            levels.append(level * (1 + scale) + shift)
        x = self.lateral[-1](levels[-1])
        for lateral, level in zip(
            list(self.lateral)[-2::-1], levels[-2::-1], strict=True
        ):
            skip = lateral(level)
            x = skip + functional.interpolate(x, size=skip.shape[-2:])  # to stride 4
        fine = self.detail[0](pixels, condition)
        half = self.detail[1](functional.max_pool2d(fine, 2), condition)
        x = functional.interpolate(x, size=half.shape[-2:])
        half = self.up[1](torch.cat((half, x), dim=1), condition)
        x = functional.interpolate(half, size=fine.shape[-2:])
        fine = self.up[0](torch.cat((fine, x), dim=1), condition)
        return (fine, half, *levels[1:])


def _window_stem(config: MedGLIPConfig) -> nn.Conv2d:
    """Map input channels to three: at first the centre slice in its three windows."""
    stem = nn.Conv2d(config.input_channels, 3, 1)
    slices = len(config.slice_offsets_mm)
    nn.init.zeros_(stem.weight)
    if stem.bias is not None:
        nn.init.zeros_(stem.bias)
    with torch.no_grad():
        for colour, channel in enumerate((slices // 2, slices, slices + 1)):
            stem.weight[colour, channel] = 1.0
    return stem
