"""Tiny files in the layouts of public picture datasets."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import training.registry
from tests.builders.pixel_images import make_image
from training.readers import SourceImage, find_reader
from training.registry import DatasetSpec, load_spec

__all__ = [
    "blob",
    "by_id",
    "read_all",
    "registered",
    "save_dicom",
    "save_json",
    "save_picture",
    "save_text",
    "spec_of",
]


def registered(name: str, **layout: object) -> DatasetSpec:
    """Return a dataset of the registry, some options of its layout replaced."""
    folder = Path(training.registry.__file__).parent
    spec = load_spec(folder / f"{name}.yaml")
    return spec.model_copy(update={"layout": {**spec.layout, **layout}})


def spec_of(reader: str, layout: dict[str, Any], **fields: object) -> DatasetSpec:
    """Return a made-up dataset of one layout."""
    return DatasetSpec.model_validate(
        {
            "id": "demo",
            "title": "Demo",
            "reader": reader,
            "modality": "DX",
            "tier": "manual",
            "licence": {
                "id": "CC0-1.0",
                "commercial": True,
                "redistribute": True,
                "derivatives": True,
                "attribution": "nobody",
            },
            "layout": layout,
            **fields,
        }
    )


def read_all(root: Path, spec: DatasetSpec) -> list[SourceImage]:
    """Read a dataset with the reader that its specification names.

    What comes back went through a pickle, as on its way to another process.
    """
    images = list(find_reader(spec.reader)(root, spec))
    sent: list[SourceImage] = pickle.loads(pickle.dumps(images))
    return sent


def by_id(images: list[SourceImage]) -> dict[str, SourceImage]:
    """Sort images by their names, which must differ."""
    named = {image.image_id: image for image in images}
    assert len(named) == len(images)
    return named


def save_text(path: Path, text: str) -> Path:
    """Write a text, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def save_json(path: Path, value: object) -> Path:
    """Write JSON, making its folder."""
    return save_text(path, json.dumps(value))


def save_picture(
    path: Path, pixels: npt.NDArray[Any] | None = None, **options: Any
) -> Path:
    """Write a picture; without pixels a small grey one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(pixels).save(path, **options)
    return path


def save_dicom(
    path: Path, pixels: npt.NDArray[Any] | None = None, **options: Any
) -> Path:
    """Write a DICOM image of one frame; `options` are those of `make_image`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.arange(48, dtype=np.uint16).reshape(6, 8)
    ds = make_image(pixels, **options)
    ds.save_as(path, enforce_file_format=True)
    return path


def blob(
    rows: slice, columns: slice, *, size: tuple[int, int] = (6, 8), level: int = 255
) -> npt.NDArray[np.uint8]:
    """Return a mask picture that is bright in one rectangle."""
    mask = np.zeros(size, dtype=np.uint8)
    mask[rows, columns] = level
    return mask
