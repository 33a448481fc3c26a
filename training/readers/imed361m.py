"""Read IMed-361M: slices with all masks of a slice in one sparse array.

References
----------
Cheng et al., Interactive Medical Image Segmentation: A Benchmark Dataset and Baseline,
CVPR 2025.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from training.errors import DatasetError
from training.readers.images import image_size, picture_loader
from training.readers.jsonfile import Node, read_json
from training.readers.layout import ImageLayout, Split
from training.readers.source import Mask, SourceImage, SourceRegion
from training.registry import DatasetSpec

__all__ = ["read_imed361m"]

_PARTS: dict[str, Split] = {
    "training": "train",
    "validation": "val",
    "testing": "test",
    "test": "test",
}

_BACKGROUND = "background"

_SHAPE = re.compile(r"\.\((?P<shape>\d+(?:,\s*\d+){3})\)$")
"""``x___ABD_001_100.(13, 512, 512, 1).npz``: the array is stored flat"""

_AXIS = re.compile(r"^[xyz]___")

_SLICE = re.compile(r"_\d+$")

_LARGEST = 1 << 31
"""Values of one slice's array: two hundred classes of 3,000 x 3,000 pixels."""


class _Layout(ImageLayout):
    modalities: dict[str, str] = Field(default_factory=dict)
    """Modality in ``dataset.json`` to DICOM Modality, where upper case is not enough"""


def read_imed361m(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield the slices of one dataset folder, or of all dataset folders below.

    Each class of the dataset is a region; a slice where its mask is empty is one
    where it is absent. ``imask`` is never read: a model made it as interaction
    material, with -1 for what it left open, so it is no ground truth.

    Raises
    ------
    DatasetError
        See `training.readers.source.Reader`.
    """
    layout = _Layout.of(spec)
    own = root / "dataset.json"
    files = [own] if own.is_file() else sorted(root.glob("*/dataset.json"))
    if not files:
        raise DatasetError(f"{spec.id}: no dataset.json here or one below")
    for file in files:
        tree = read_json(file)
        labels = _labels(tree)
        modality = _modality(tree, layout=layout, default=spec.modality)
        if not any(part in tree for part in _PARTS):
            tree.fail(f"none of the lists {', '.join(_PARTS)}")
        for part, split in _PARTS.items():
            for item in tree.items(part):
                name = item.member("image").text()
                path = layout.find(file.parent / name, item.place)
                if path is None:
                    continue
                yield SourceImage(
                    image_id=f"{file.parent.name}/{Path(name).stem}",
                    load=picture_loader(path),
                    regions=_regions(item, image=path, labels=labels, root=file.parent),
                    modality=modality,
                    body_part=spec.body_part,
                    patient_id=f"{file.parent.name}/{_case(name)}",
                    split=split,
                )


def _labels(tree: Node) -> list[str]:
    """Return the classes in the order of the first axis, which has no background."""
    numbered = [
        (int(key), node.text())
        for key, node in tree.member("labels").members()
        if node.text().casefold() != _BACKGROUND and key.isdecimal()
    ]
    return [label for _, label in sorted(numbered)]


def _modality(tree: Node, *, layout: _Layout, default: str) -> str:
    if "modality" not in tree:
        return default
    names = [node.text() for _, node in tree.member("modality").members()]
    if not names:
        return default
    return layout.modalities.get(names[0], names[0].upper())


def _case(name: str) -> str:
    """Return the case of ``image/x___ABD_001_100.png``: slices share it."""
    return _SLICE.sub("", _AXIS.sub("", Path(name).stem))


def _regions(
    item: Node, *, image: Path, labels: list[str], root: Path
) -> tuple[SourceRegion, ...]:
    node = item.member("label")
    file = root / node.text()
    found = _SHAPE.search(file.stem)
    if found is None:
        node.fail("the name does not end in the shape of the array")
    shape = tuple(int(side) for side in found["shape"].split(","))
    if shape[0] != len(labels):
        node.fail(f"{shape[0]} masks of {len(labels)} classes")
    return tuple(
        SourceRegion(
            label=label, mask=partial(_load, file, index, shape=shape, image=image)
        )
        for index, label in enumerate(labels)
    )


def _load(file: Path, index: int, *, shape: tuple[int, ...], image: Path) -> Mask:
    size = image_size(image)
    # One of the last three axes is the one that was cut across.
    if math.prod(shape[1:]) != math.prod(size) or size not in _planes(shape[1:]):
        raise DatasetError(f"{file.name}: its shape is not that of {image.name}")
    return np.asarray(_read(file, shape)[index].reshape(size) > 0, dtype=np.bool_)


def _planes(sides: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [
        sides[:place] + sides[place + 1 :]
        for place, side in enumerate(sides)
        if side == 1
    ]


@lru_cache(maxsize=1)
def _read(file: Path, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return (classes, pixels); the last file stays, since its masks are asked for."""
    try:
        # scipy reads with allow_pickle=False.
        stored = sparse.load_npz(file)
        if math.prod(stored.shape) == math.prod(shape) <= _LARGEST:
            return np.asarray(stored.toarray()).reshape(shape[0], -1)
    except FileNotFoundError as error:
        raise DatasetError(f"{file.name} is not there") from error
    except Exception as error:  # zip, zlib, numpy and scipy each raise their own
        raise DatasetError(
            f"{file.name} cannot be read: {type(error).__name__}"
        ) from error
    raise DatasetError(f"{file.name}: the array is not of the shape in its name")
