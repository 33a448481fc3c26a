"""Write a small build by hand, as training.layout describes it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.layout import Neighbour, PictureInfo, Shard, pixel_digest
from training.records import ImageRecord, PhraseRegion
from training.rle import encode_rle

__all__ = ["make_members", "make_record", "make_region", "write_build"]


def make_region(
    phrase: str,
    box: tuple[float, float, float, float] | None = None,
    *,
    mask: NDArray[np.bool_] | None = None,
    **changes: Any,
) -> PhraseRegion:
    """Return a region with one box, one mask, or (absent) neither."""
    if mask is not None:
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    status = "absent" if box is None and not changes.get("ignore") else "present"
    settings: dict[str, Any] = {
        "region_id": f"r:{phrase}",
        "phrase": phrase,
        "tokens_positive": (),
        "bbox": () if box is None else (tuple(map(float, box)),),
        "mask": None if mask is None else (encode_rle(mask),),
        "status": status,
    }
    return PhraseRegion(**{**settings, **changes})


def make_record(
    regions: Sequence[PhraseRegion] = (), *, key: str = "k", **changes: Any
) -> ImageRecord:
    """Return a record of a 32 x 48 picture."""
    settings: dict[str, Any] = {
        "image_id": f"made/{key}",
        "filename": f"{key}.png",
        "sha256": "",
        "phash": "0" * 16,
        "height": 32,
        "width": 48,
        "modality": "DX",
        "body_part": "CHEST",
        "view": None,
        "dataset": "made",
        "licence": "CC0-1.0",
        "tier": "manual",
        "patient_key": "p",
        "study_key": None,
        "split": "train",
        "cluster": "c",
        "volume": None,
        "prior": None,
        "report": None,
        "label_space": None,
        "caption": ". ".join(region.phrase for region in regions),
        "regions": tuple(regions),
        "spacing_mm": None,
    }
    return ImageRecord(**{**settings, **changes})


def make_members(
    record: ImageRecord,
    pixels: NDArray[Any],
    *,
    units: str = "relative",
    intercept: float = 0.0,
    neighbours: Sequence[tuple[Neighbour, NDArray[Any]]] = (),
) -> dict[str, bytes]:
    """Return the members of a sample, as a shard holds them."""
    low, high = np.percentile(pixels + intercept, (1.0, 99.5))
    info = PictureInfo(
        1.0,
        intercept,
        units,
        float(low),
        float(high),
        pixels.shape[:2],
        tuple(neighbour for neighbour, _ in neighbours),
    )
    members = {
        "json": record.to_json().encode(),
        "picture.json": info.to_json().encode(),
        "png": _png(pixels),
    }
    for number, (_, plane) in enumerate(neighbours):
        members[f"n{number}.png"] = _png(plane)
    return members


def _png(pixels: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_build(
    folder: Path,
    records: Sequence[ImageRecord],
    *,
    shard_samples: int = 4,
    splits: Sequence[str] = ("train",),
) -> Path:
    """Write a build with one small grey picture per record; keys are numbers.

    Shards of `splits` take turns.
    """
    (folder / "shards").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines: list[bytes] = []
    shards: list[Shard] = []
    for first in range(0, len(records), shard_samples):
        split = splits[len(shards) % len(splits)]
        path = folder / "shards" / f"shard-{len(shards):06d}.tar"
        offsets = []
        some = records[first : first + shard_samples]
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, record in enumerate(some, start=first):
                offsets.append(tar.offset)
                pixels = rng.integers(0, 255, (record.height, record.width))
                stored = pixels.astype(np.uint8)
                raw = json.loads(record.to_json())
                raw |= {"split": split, "sha256": pixel_digest(stored)}
                whole = ImageRecord.from_json(json.dumps(raw))
                lines.append(whole.to_json().encode() + b"\n")
                for extension, content in make_members(whole, stored).items():
                    member = tarfile.TarInfo(f"{number:06d}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
            offsets.append(tar.offset)
        np.array(offsets, dtype="<i8").tofile(path.with_suffix(".idx"))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        shards.append(Shard(path.name, split, len(some), first, len(data), digest))
    ends = np.cumsum([0, *map(len, lines)])
    (folder / "records.jsonl").write_bytes(b"".join(lines))
    ends.astype("<i8").tofile(folder / "records.idx")
    listed = json.dumps({"shards": [asdict(shard) for shard in shards]})
    (folder / "shards.json").write_text(listed, encoding="utf-8")
    return folder
