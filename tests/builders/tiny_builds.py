"""A few tiny datasets with every kind of label, and a build of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.builders.tiny_dataset import TinyDataset, block, make_spec, texture
from training.build.ingest import Source
from training.build.settings import BuildSettings
from training.registry import DatasetSpec

SETTINGS = BuildSettings(
    block=2, shard_samples=7, long_side=64, min_area=2, slice_step=4
)
"""Small blocks and shards, so that there are several."""


def radiographs(root: Path, count: int = 6) -> Source:
    """Frontal radiographs with boxes, a report each, and absent labels."""
    data = TinyDataset(root)
    for number in range(count):
        left = 8 + number
        data.add(
            f"cxr{number}",
            texture(number).astype(np.uint16) * 16,
            {"label": "Effusion", "boxes": [(40, 20, 50 + number, 40)]},
            {"label": "Nodule", "boxes": [(left, 6, left + 5, 12)], "reader": None},
            view="PA",
            patient_id=f"p{number // 2}",
            label_space=["pleural effusion", "lung nodule", "pneumothorax"],
            report="Small left pleural effusion. No pneumothorax.",
        )
    names = {"Effusion": "pleural effusion", "Nodule": "lung nodule"}
    return Source(make_spec("films", label_map=names), root)


def volumes(root: Path, count: int = 2) -> Source:
    """CT volumes with organs, a lesion of two pieces, and an empty mask."""
    data = TinyDataset(root)
    for number in range(count):
        rng = np.random.default_rng(number)
        shape = (12, 40, 48)
        pixels = rng.integers(-1000, 1500, shape).astype(np.int16)
        tumour = block(shape, (5, 7), (10, 14), (10, 14))
        tumour |= block(shape, (5, 6), (20, 24), (20, 26))
        data.add(
            f"vol{number}",
            pixels,
            {"label": "liver", "mask": block(shape, (2, 9), (8, 30), (5, 22))},
            {"label": "spleen", "mask": block(shape, (4, 8), (10, 25), (30, 40))},
            {"label": "liver_tumor", "mask": tumour},
            {"label": "gallbladder", "mask": np.zeros(shape, bool)},
            modality="CT",
            spacing=(4.0, 1.0, 1.0),
            is_volume=True,
            patient_id=f"v{number}",
        )
    space = ("liver", "spleen", "liver tumor", "gallbladder")
    return Source(make_spec("scans", modality="CT", label_space=space), root)


def several_readers(root: Path) -> Source:
    """Radiographs that three people read."""
    data = TinyDataset(root)
    for number in range(2):
        near = [(10, 10, 20, 20), (11, 10, 21, 20), (9, 10, 19, 20)]
        regions: list[dict[str, Any]] = [
            {"label": "nodule", "boxes": [box], "reader": f"R{reader}"}
            for reader, box in enumerate(near)
        ]
        regions.append({"label": "mass", "boxes": [(40, 30, 50, 40)], "reader": "R1"})
        data.add(f"read{number}", texture(50 + number), *regions, view="PA")
    return Source(make_spec("readers", patient_unknown=True), root)


def photographs(root: Path) -> Source:
    """Colour pictures with masks; one is bigger than the cap."""
    data = TinyDataset(root)
    for number, side in enumerate((48, 160)):
        grey = texture(80 + number, (side, side))
        mask = block((side, side), (side // 4, side // 2), (side // 4, side // 2))
        data.add(
            f"photo{number}",
            np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2),
            {"label": "polyp", "mask": mask},
            modality="ES",
            spacing=None,
        )
    return Source(make_spec("scopes", modality="ES"), root)


def sources(root: Path) -> list[Source]:
    return [
        radiographs(root / "films"),
        volumes(root / "scans"),
        several_readers(root / "readers"),
        photographs(root / "scopes"),
    ]


def specs(all_sources: list[Source]) -> dict[str, DatasetSpec]:
    return {source.spec.id: source.spec for source in all_sources}


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a build by name, without what is kept to go on from."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }
