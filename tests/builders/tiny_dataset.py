"""A dataset of a few small arrays, in a layout of its own, and its reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.readers.source import Picture, SourceImage, SourceRegion
from training.registry import DatasetSpec, Licence

READER = "tests.builders.tiny_dataset:read_tiny"
"""As the table of readers names it."""


def make_spec(name: str, **changes: Any) -> DatasetSpec:
    licence = Licence(
        id=changes.pop("licence_id", "CC-BY-4.0"),
        commercial=changes.pop("commercial", True),
        redistribute=True,
        derivatives=True,
        attribution=f"The people of {name}",
        url="https://example.org/terms",
    )
    values = {
        "id": name,
        "title": name.title(),
        "reader": "tiny",
        "modality": "CR",
        "tier": "manual",
        "licence": licence,
    }
    return DatasetSpec.model_validate({**values, **changes})


class TinyDataset:
    """Collects images and writes them below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[dict[str, Any]] = []
        root.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        pixels: NDArray[Any],
        *regions: dict[str, Any],
        modality: str = "CR",
        spacing: tuple[float, float, float] | None = (0.0, 0.5, 0.5),
        is_volume: bool = False,
        **said: Any,
    ) -> None:
        np.save(self.root / f"{name}.npy", pixels)
        written = []
        for number, region in enumerate(regions):
            raw = dict(region)
            if isinstance(raw.get("mask"), np.ndarray):
                file = f"{name}-mask{number}.npy"
                np.save(self.root / file, raw["mask"])
                raw["mask"] = file
            written.append(raw)
        self.images.append(
            {
                "image_id": name,
                "modality": modality,
                "spacing": spacing,
                "is_volume": is_volume,
                "regions": written,
                **said,
            }
        )
        text = json.dumps(self.images)
        (self.root / "index.json").write_text(text, encoding="utf-8")


def read_tiny(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield what `TinyDataset` wrote."""
    for raw in json.loads((root / "index.json").read_text(encoding="utf-8")):
        spacing, is_volume = raw.pop("spacing"), raw.pop("is_volume")
        regions = tuple(_region(root, one) for one in raw.pop("regions"))
        space = raw.pop("label_space", None)
        yield SourceImage(
            load=partial(_picture, root / f"{raw['image_id']}.npy", spacing, is_volume),
            regions=regions,
            label_space=None if space is None else tuple(space),
            **raw,
        )


def _picture(path: Path, spacing: list[float] | None, is_volume: bool) -> Picture:
    pixels = np.load(path, allow_pickle=False)
    if spacing is None:
        return Picture(pixels, None, is_volume)
    return Picture(pixels, (spacing[0], spacing[1], spacing[2]), is_volume)


def _region(root: Path, raw: dict[str, Any]) -> SourceRegion:
    values = dict(raw)
    file = values.pop("mask", None)
    boxes = tuple(tuple(box) for box in values.pop("boxes", ()))
    mask = None if file is None else partial(_mask, root / file)
    return SourceRegion(boxes_xyxy=boxes, mask=mask, **values)


def _mask(path: Path) -> NDArray[np.bool_]:
    return np.load(path, allow_pickle=False).astype(np.bool_)


def block(shape: tuple[int, ...], *spans: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask that is set between the spans of each axis."""
    mask = np.zeros(shape, dtype=np.bool_)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def texture(seed: int, shape: tuple[int, ...] = (48, 64)) -> NDArray[np.uint8]:
    """Return a picture that no other seed resembles."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8))
    grown = np.kron(coarse, np.ones((-(-shape[0] // 6), -(-shape[1] // 8))))
    return grown[: shape[0], : shape[1]].astype(np.uint8)
