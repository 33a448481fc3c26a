"""Hold what a build is asked to do."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from training.build.rules import rules_digest
from training.errors import ConfigError

__all__ = ["BUILD_VERSION", "BuildSettings"]

BUILD_VERSION = 2
"""Counts changes of the per-image stages: results of another version are not reused."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Describe a build; written into ``build.json``."""

    long_side: int = 1024
    """Longest side of a stored picture; larger ones are shrunk, none is enlarged."""
    eight_bit: tuple[str, ...] = (
        *("CR", "DX", "IO", "PX", "RF", "XA"),
        *("US", "ES", "OP", "OPT", "XC", "GM", "SM", "DMS"),
    )
    """Modalities stored with 8 bits: 256 greys of the 0.1st to the 99.9th percentile.
    All others keep 16."""
    jpeg_quality: int = 0
    """Colour pictures as JPEG of this quality; 0: as PNG, without loss."""
    neighbours_mm: tuple[float, ...] = (-10.0, -4.0, 4.0, 10.0)
    """Slices stored beside a slice of a volume: `MedGLIPConfig.slice_offsets_mm`."""
    slice_step: int = 8
    """Every so many slices of a volume are taken."""
    lesion_slices: int = 16
    """Slices taken of a lesion, evenly over its extent."""
    max_slices: int = 96
    """Slices taken of one volume."""
    min_area: int = 4
    """Pixels of the smallest piece of a mask that counts as a region."""
    fuse_iou: float = 0.5
    """Boxes of several readers that overlap more mean the same place."""
    consensus: float = 0.5
    """Share of an image's readers that have to outline a pixel."""
    negatives: int = 4
    """Absent labels of the label space that are named in a caption."""
    synonym_share: float = 0.3
    """Share of labels that are worded by a synonym."""
    template_share: float = 0.2
    """Share of labels that are worded as a sentence."""
    sided: bool = True
    """Name the side of findings in paired organs where the geometry shows it."""
    keep_reports: bool = False
    """Store the full text of reports beside the phrases that were made of it."""
    near_bits: int = 4
    """Bits by which the difference hashes of near duplicates differ at most."""
    near_correlation: float = 0.99
    """Least correlation of the 32 x 32 thumbnails of near duplicates. Radiographs of
    different people often agree in 60 of 64 bits, and rarely in this."""
    val_percent: int = 5
    test_percent: int = 5
    """Shares of the clusters without an official split."""
    shard_samples: int = 2000
    shard_bytes: int = 1 << 30
    """A shard ends at whichever comes first."""
    block: int = 8
    """Images of a dataset that are one piece of work."""
    seed: str = "medglip"
    """Draws of words, splits and orders hang on it and on names alone."""

    def __post_init__(self) -> None:
        """Refuse what no build can follow."""
        least = ("long_side", "slice_step", "max_slices", "min_area", "shard_samples")
        for name in (*least, "shard_bytes", "block", "lesion_slices"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
        if not 0 <= self.val_percent + self.test_percent <= 100:
            raise ConfigError("val_percent and test_percent exceed 100 together")
        if min(self.val_percent, self.test_percent, self.negatives) < 0:
            raise ConfigError("a percentage or a number of negatives is below 0")
        if not 0 <= self.synonym_share + self.template_share <= 1:
            raise ConfigError("synonym_share and template_share exceed 1 together")
        if not 0 <= self.jpeg_quality <= 95:
            raise ConfigError("jpeg_quality lies between 0 and 95")
        if not 0 < self.fuse_iou < 1 or not 0 < self.consensus <= 1:
            raise ConfigError("fuse_iou and consensus are shares")

    @classmethod
    def load(cls, path: Path) -> BuildSettings:
        """Read a TOML file.

        Raises
        ------
        ConfigError
            It cannot be read, or names a setting that does not exist.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from error
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ConfigError(f"unknown build settings: {', '.join(unknown)}")
        try:
            return cls(**{key: _frozen(value) for key, value in raw.items()})
        except TypeError as error:
            raise ConfigError(f"{path}: {error}") from error

    def digest(self, *parts: str) -> str:
        """Return the SHA-256 of the per-image settings, the rules and `parts`."""
        later = {"near_bits", "near_correlation", "val_percent", "test_percent"}
        later |= {"shard_samples", "shard_bytes"}
        named = {key: value for key, value in asdict(self).items() if key not in later}
        text = json.dumps(
            [BUILD_VERSION, named, rules_digest(), *parts], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
