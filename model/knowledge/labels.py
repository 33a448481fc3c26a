"""Read the knowledge file: every region, class, group and label as a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

import yaml

__all__ = ["ANYWHERE", "Attributes", "Label", "Level", "read_labels"]

ANYWHERE = "anywhere"
"""Region of what is found in all of them: a cyst, a mass."""

Level = Literal["region", "class", "group", "pair", "label"]

_FIELDS = {"shape", "texture", "margin", "location", "intensity"}
_KEYS = _FIELDS | {"synonyms", "also", "modalities", "part_of", "pair", "side", "group"}
_KEYS |= {"classes", "labels"}

_KINDS: Mapping[str, tuple[str, ...]] = {
    "CT": ("CT",),
    "MR": ("MR T1", "MR T2"),
    "CR": ("X-ray",),
    "DX": ("X-ray",),
    "RG": ("X-ray",),
    "MG": ("X-ray",),
    "XA": ("X-ray",),
    "RF": ("X-ray",),
    "US": ("US",),
    "IVUS": ("US",),
    "ES": ("endoscopy",),
    "OP": ("fundus",),
    "OPT": ("fundus",),
    "DM": ("dermoscopy",),
    "XC": ("dermoscopy",),
    "GM": ("dermoscopy",),
    "SM": ("pathology",),
    "PT": ("PET",),
    "NM": ("PET",),
}
"""Which intensities a DICOM Modality (0008,0060) asks for."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """How something looks, in a few words each; "" where nothing is known."""

    shape: str = ""
    texture: str = ""
    margin: str = ""
    location: str = ""
    intensity: tuple[tuple[str, str], ...] = ()
    """(kind of picture, words): "CT", "MR T1", "MR T2", "X-ray", "US", "endoscopy",
    "dermoscopy", "fundus", "pathology", "PET\""""

    def sentence(self, modality: str | None = None) -> str:
        """Return the attributes as one short text.

        Parameters
        ----------
        modality
            A DICOM Modality or a kind of picture; without it, or for one that the
            entry does not know, brightness is left out.
        """
        wanted = _KINDS.get((modality or "").strip().upper(), (modality,))
        wanted_kinds = {kind.lower() for kind in wanted if kind}
        bright = [
            (kind.removeprefix("MR ") + " " if kind.startswith("MR ") else "") + words
            for kind, words in self.intensity
            if kind.lower() in wanted_kinds
        ]
        margin = f"margin {self.margin}" if self.margin else ""
        parts = (self.shape, *bright, self.texture, margin, self.location)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One entry of the tree."""

    name: str
    level: Level
    synonyms: tuple[str, ...]
    """Other wordings; "cyst ~ liver" means both words, in any order"""
    also: tuple[str, ...]
    """Wordings that lead here and mean a part, a kind or a sign of it"""
    region: str
    cls: str | None
    """Name of the class; None for a region"""
    parent: str | None
    """Name of the entry that contains this one"""
    side: str | None = None
    """"left" or "right" when the label is of one side"""
    modalities: tuple[str, ...] = ()
    attributes: Attributes = Attributes()

    @property
    def path(self) -> tuple[str, ...]:
        """Region, class, label: from general to fine, as far as the entry goes."""
        names = dict.fromkeys((self.region, self.cls or self.region, self.name))
        return tuple(names)


def read_labels() -> tuple[Label, ...]:
    """Read ``model/knowledge/labels.yaml`` in its order.

    Raises
    ------
    ValueError
        A key is unknown, a name comes twice, or `part_of` names nothing.
    """
    source = resources.files("model") / "knowledge" / "labels.yaml"
    raw: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    found = (*_regions(raw["regions"]), *_anywhere(raw.get("anywhere", {})))
    names = {one.name for one in found}
    if len(names) != len(found):
        raise ValueError("a name comes twice in the knowledge file")
    for one in found:
        if one.parent is not None and one.parent not in names:
            raise ValueError(f"{one.name} is part of {one.parent}, which is unknown")
    return found


def _regions(raw: dict[str, dict[str, Any]]) -> Iterator[Label]:
    for region, entry in raw.items():
        yield _entry(region, entry, level="region", region=region, cls=None)
        for name, below in entry["classes"].items():
            yield from _class(name, below, region=region)


def _anywhere(raw: dict[str, dict[str, Any]]) -> Iterator[Label]:
    for name, entry in raw.items():
        yield _entry(name, entry, level="group", region=ANYWHERE, cls=None)


def _class(name: str, entry: dict[str, Any], *, region: str) -> Iterator[Label]:
    whole = _entry(name, entry, level="class", region=region, cls=name)
    if "part_of" not in entry:
        whole = replace(whole, parent=region)
    yield whole
    pairs = {key: one["pair"] for key, one in entry["labels"].items() if "pair" in one}
    for key, one in entry["labels"].items():
        label = _entry(key, {**_inherited(entry), **one}, region=region, cls=name)
        if "part_of" not in one:
            label = replace(label, parent=name)
        if "pair" in one:
            yield from _sides(label, pair=one["pair"], pairs=pairs, whole=name)
        else:
            yield label


def _inherited(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in (_FIELDS | {"modalities"}) & entry.keys()}


def _sides(
    base: Label, *, pair: str, pairs: dict[str, str], whole: str
) -> Iterator[Label]:
    """Yield the name for both, unless it is the class, then the left, the right."""
    inside = pairs.get(base.parent or "")
    if pair != whole:
        yield replace(
            base,
            name=pair,
            level="pair",
            synonyms=(base.name, *base.synonyms),
            parent=inside or base.parent,
            attributes=_sided(base.attributes, "each"),
        )
    for side in ("left", "right"):
        yield replace(
            base,
            name=f"{side} {base.name}",
            synonyms=tuple(f"{side} {text}" for text in base.synonyms),
            also=tuple(f"{side} {text}" for text in base.also),
            parent=pair if inside is None else f"{side} {base.parent}",
            side=side,
            attributes=_sided(base.attributes, side),
        )


def _sided(attributes: Attributes, side: str) -> Attributes:
    location = attributes.location.replace("{side}", side)
    return replace(attributes, location=location)


def _entry(
    name: str,
    raw: dict[str, Any],
    *,
    region: str,
    cls: str | None,
    level: Level = "label",
) -> Label:
    if unknown := sorted(raw.keys() - _KEYS):
        raise ValueError(f"{name}: unknown keys {', '.join(unknown)}")
    return Label(
        name=name,
        level="group" if raw.get("group") else level,
        synonyms=tuple(raw.get("synonyms", ())),
        also=tuple(raw.get("also", ())),
        region=region,
        cls=cls,
        parent=raw.get("part_of"),
        side=raw.get("side"),
        modalities=tuple(raw.get("modalities", ())),
        attributes=Attributes(
            shape=raw.get("shape", ""),
            texture=raw.get("texture", ""),
            margin=raw.get("margin", ""),
            location=raw.get("location", ""),
            intensity=_intensity(name, raw.get("intensity", {})),
        ),
    )


def _intensity(name: str, raw: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    known = {kind for kinds in _KINDS.values() for kind in kinds}
    for kind, words in raw.items():
        if kind not in known or not isinstance(words, str):
            raise ValueError(f"{name}: {kind!r} is no kind of picture with its words")
    return tuple(raw.items())
