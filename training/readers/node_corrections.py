"""Read what ``dicom-node corrections export`` writes: regions that people judged.

::

    node-corrections.json                {"schema": "dicom-node-corrections/1", ...}
    images/<key>/image.json              what was said, under pseudonyms
    images/<key>/pixels.npy              canonical axes, modality units
    images/<key>/mask-<n>.npy            packed bits, in the order of the pixels
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from training.errors import DatasetError
from training.readers.jsonfile import Node, read_json
from training.readers.source import (
    Laterality,
    Mask,
    Picture,
    SourceImage,
    SourceRegion,
)
from training.records import Status
from training.registry import DatasetSpec
from training.registry.spec import Tier

__all__ = ["read_node_corrections"]

_SCHEMA = "dicom-node-corrections/1"

_SIDES: dict[str, Laterality] = {"left": "L", "right": "R", "bilateral": "B"}

_TIERS: dict[str, Tier] = {"accept": "pseudo", "redraw": "manual", "reject": "manual"}
"""By what a person did: who accepts leaves the outline as a model drew it."""


def read_node_corrections(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every picture or volume of an export.

    Parameters
    ----------
    root
        The folder that was exported to.
    spec
        The specification; labels are codes' meanings, phrases the reports' words.

    Raises
    ------
    DatasetError
        It is no such export, or a file of it is missing or damaged.
    """
    marker = root / "node-corrections.json"
    if not marker.is_file():
        raise DatasetError(f"{root.name}: it is no export of corrections")
    said = read_json(marker).member("schema")
    if said.text() != _SCHEMA:
        said.fail(f"not of schema {_SCHEMA}")
    for path in sorted((root / "images").glob("[0-9a-f]*/image.json")):
        yield _image(path, read_json(path))


def _image(path: Path, said: Node) -> SourceImage:
    folder = path.parent
    is_volume = bool(said.member("is_volume").value)
    return SourceImage(
        image_id=folder.name,
        load=partial(
            _load_picture,
            folder / "pixels.npy",
            spacing_mm=_three(said.member("spacing_mm"))
            if "spacing_mm" in said
            else None,
            is_volume=is_volume,
        ),
        regions=tuple(
            _region(one, folder, model=said.member("model").text())
            for one in said.items("regions")
        ),
        modality=said.member("modality").text(),
        body_part=said.member("body_part").text() if "body_part" in said else None,
        patient_id=said.member("patient").text(),
        study_id=said.member("study").text(),
    )


def _region(said: Node, folder: Path, *, model: str) -> SourceRegion:
    status, verdict = said.member("status"), said.member("verdict")
    if status.value not in get_args(Status):
        status.fail("no status")
    if verdict.value not in _TIERS:
        verdict.fail("nothing that a person can do")
    side = said.member("laterality").text() if "laterality" in said else ""
    mask = None
    if "mask" in said:
        name = f"mask-{said.member('mask').integer()}.npy"
        mask = partial(_load_mask, folder / name, folder / "pixels.npy")
    codes = {}
    for name, code in said.member("codes").members():
        parts = [one.text() for one in code.items()]
        if len(parts) != 3:
            code.fail("not value, scheme and meaning")
        codes[name] = (parts[0], parts[1], parts[2])
    boxes = [one.numbers(4) for one in said.items("boxes_xyxy")]
    return SourceRegion(
        label=said.member("label").text(),
        phrase=said.member("phrase").text(),
        status=status.value,
        boxes_xyxy=tuple((b[0], b[1], b[2], b[3]) for b in boxes),
        mask=mask,
        laterality=_SIDES.get(side),
        codes=codes,
        attributes={
            "verdict": verdict.text(),
            "year": str(said.member("year").integer()),
            "model_sha256": model,
        },
        reader=said.member("person").text(),
        tier=_TIERS[verdict.text()],
    )


def _three(node: Node) -> tuple[float, float, float]:
    first, second, third = node.numbers(3)
    return first, second, third


def _load_picture(
    path: Path, *, spacing_mm: tuple[float, float, float] | None, is_volume: bool
) -> Picture:
    try:
        pixels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path.parent.name}: its pixels cannot be read") from error
    return Picture(pixels, spacing_mm=spacing_mm, is_volume=is_volume)


def _load_mask(path: Path, pixels: Path) -> Mask:
    name = f"{path.parent.name}/{path.name}"
    try:
        packed = np.load(path, allow_pickle=False)
        picture = np.load(pixels, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{name}: the mask cannot be read") from error
    is_colour = picture.dtype == np.uint8 and picture.shape[-1] == 3
    shape = picture.shape[:-1] if is_colour else picture.shape
    size = int(np.prod(shape))
    if packed.dtype != np.uint8 or packed.shape != (-(-size // 8),):
        raise DatasetError(f"{name}: the mask has another size than the picture")
    bits = np.unpackbits(packed, count=size)
    return np.asarray(bits.reshape(shape), dtype=np.bool_)
