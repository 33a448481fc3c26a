"""The network: see the picture, read the phrases, align, detect, decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from model.config import MedGLIPConfig
from model.core import Detections, GroundingCore
from model.text import PhraseAdapter
from model.trunk import ImageTrunk

__all__ = ["WEIGHTS_FILE", "MedGLIP", "MedGLIPOutput"]

WEIGHTS_FILE = "model.safetensors"
"""Name of the weights inside a checkpoint folder."""


@dataclass
class MedGLIPOutput:
    """What one pass says about every (picture, phrase) pair."""

    mask_logits: Tensor
    """(batch, phrases, rows, columns) dense branch, full resolution"""
    presence_logits: Tensor
    """(batch, phrases) evidence that the phrase is on this slice"""
    detections: Detections | None
    """Detection core on the phrases of `core_phrases`; None when not asked for."""


class DenseHead(nn.Module):
    """Align every pixel with every phrase: one inner product, text-made bias."""

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        self.pixels = nn.Linear(config.trunk_channels[0], config.dense_dim)
        self.words = nn.Linear(config.phrase_dim, config.dense_dim)
        self.bias = nn.Linear(config.phrase_dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        nn.init.constant_(self.bias.bias, -4.0)

    def forward(self, features: Tensor, phrases: Tensor) -> Tensor:
        """Return (batch, phrases, rows, columns) logits."""
        flat = features.flatten(2)  # (batch, channels, pixels)
        pixels = torch.matmul(self.pixels.weight, flat) + self.pixels.bias[:, None]
        pixels = functional.relu(pixels)  # (batch, dense_dim, pixels)
        words = self.words(phrases) * self.log_scale.exp()  # (phrases, dense_dim)
        logits: Tensor = torch.matmul(words, pixels) + self.bias(phrases)
        return logits.reshape(*logits.shape[:2], *features.shape[-2:])


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


class MedGLIP(nn.Module):
    """Ground report phrases in a medical picture.

    A picture is seen once; any number of phrases is then compared with it.
    """

    def __init__(self, config: MedGLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = ImageTrunk(config)
        self.phrase_adapter = PhraseAdapter(config)
        self.dense = DenseHead(config)
        self.presence = PresenceHead(config)
        self.core = GroundingCore(config)

    def forward(
        self,
        pixels: Tensor,
        modality: Tensor,
        phrases: Tensor,
        *,
        core_phrases: Tensor | None = None,
    ) -> MedGLIPOutput:
        """Align pictures with phrases.

        Parameters
        ----------
        pixels
            (batch, input_channels, rows, columns); see ``model.processing``.
        modality
            (batch,) rows of ``MODALITIES``.
        phrases
            (phrases, phrase_dim) from :attr:`phrase_adapter`, shared by the batch.
        core_phrases
            (pictures, n) rows of `phrases` for the detection core, -1 = padding;
            None skips the core. It may cover only the first pictures of the batch.
        """
        pyramid = self.trunk(pixels, modality)
        mask_logits = self.dense(pyramid[0], phrases)
        presence = self.presence(mask_logits, pyramid[-1], phrases)
        detections = None
        if core_phrases is not None:
            some = len(core_phrases)
            detections = self.core(
                tuple(level[:some] for level in pyramid),
                phrases[core_phrases.clamp(min=0)],
                core_phrases >= 0,
            )
        return MedGLIPOutput(mask_logits, presence, detections)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into `folder`."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.config.save(path)
        state = {key: value.contiguous() for key, value in self._own_state().items()}
        save_file(state, path / WEIGHTS_FILE, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MedGLIP:
        """Read a checkpoint folder; every weight must be there and fit."""
        path = Path(folder)
        model = cls(MedGLIPConfig.load(path))
        model.load_own_state(load_file(path / WEIGHTS_FILE))
        return model.eval()

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Load what :meth:`save_pretrained` wrote, strictly."""
        own = self._own_state()
        if set(own) != set(state):
            odd = sorted(set(own) ^ set(state))
            raise ValueError(f"checkpoint and model differ in {', '.join(odd[:5])}")
        self.load_state_dict(state, strict=False)

    def _own_state(self) -> dict[str, Tensor]:
        """Return the weights once each: the decoder shares the core's box heads."""
        return {
            key: value
            for key, value in self.state_dict().items()
            if not key.startswith("core.decoder.bbox_embed.")
        }
