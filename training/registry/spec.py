"""Describe one dataset: where its files lie, who may use it and what it labels."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import ConfigError

__all__ = ["DatasetSpec", "Licence", "load_registry", "load_spec"]

Tier = Literal["manual", "fused", "pseudo", "derived", "synthetic"]
"""How labels came to be: by readers, by fused readers, by a model, computed from
other labels (projections), or drawn together with the picture (phantoms)."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Licence(_Frozen):
    """What a dataset's licence allows."""

    id: str
    """SPDX identifier, or ``LicenseRef-`` and a name"""
    commercial: bool
    redistribute: bool
    derivatives: bool
    share_alike: bool = False
    url: str | None = None
    """Licence text or data use agreement"""
    attribution: str
    citation: str | None = None


class DatasetSpec(_Frozen):
    """One dataset of the registry."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    reader: str
    """Name in ``training.readers.READERS``"""
    modality: str
    """DICOM Modality (0008,0060); a reader may say another per image"""
    body_part: str | None = None
    tier: Tier
    licence: Licence
    layout: dict[str, Any] = Field(default_factory=dict)
    """Options of the reader: file names, patterns, label values"""
    label_map: dict[str, str] = Field(default_factory=dict)
    """The dataset's label to the phrase it means; labels not named keep their text
    with underscores as spaces"""
    label_paths: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Phrase to its place in the tree: body region, class, label"""
    label_space: tuple[str, ...] | None = None
    """Phrases that annotators looked for in every image, so that a missing one is
    absent; None: a missing label says nothing"""
    patient_unknown: bool = False
    """The dataset names no patients: near duplicates alone keep its splits apart"""
    notes: str = ""

    def phrase_of(self, label: str) -> str:
        """Return the phrase that a dataset's label means."""
        return self.label_map.get(label, " ".join(label.replace("_", " ").split()))


def load_spec(path: Path) -> DatasetSpec:
    """Read one YAML file.

    Raises
    ------
    ConfigError
        The file cannot be read, or a field is missing, unknown or of the wrong kind;
        the message names file and field.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return DatasetSpec.model_validate(raw)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}"
            for one in error.errors()
        )
        raise ConfigError(f"{path}: {places}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error


def load_registry(folder: Path | None = None) -> dict[str, DatasetSpec]:
    """Read every ``*.yaml`` of a folder; the bundled registry when None.

    Raises
    ------
    ConfigError
        There is no such folder, or one of its files is no specification.
    """
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder of dataset specifications")
    source = folder or Path(str(resources.files("training") / "registry"))
    specs = [load_spec(path) for path in sorted(source.glob("*.yaml"))]
    return {spec.id: spec for spec in specs}
