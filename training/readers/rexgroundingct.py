"""Read ReXGroundingCT: chest CTs of CT-RATE, and a mask for each finding in words.

::

    dataset.json                        {"train": [{"name", "findings", ...}], ...}
    segmentations/train_1_a_1.nii.gz    (findings, axes of the scan), or the scan's
                                        axes alone where there is one finding
    <images>/train_1_a_1.nii.gz, or CT-RATE's tree of patients and studies

Scans to train on have at most three places outlined for each finding, so that the rest
of them is unknown; those to validate on have all.

References
----------
Baharoon et al., ReXGroundingCT: a 3D chest CT dataset for segmentation of findings from
free-text reports. arXiv 2507.22030 (2025).
Hamamci et al., CT-RATE. arXiv 2403.17834 (2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from pydantic import field_validator

from training.errors import DatasetError
from training.readers.jsonfile import Node, read_json
from training.readers.label_maps import side_of
from training.readers.layout import ImageLayout, official_split
from training.readers.source import Mask, Picture, SourceImage, SourceRegion
from training.readers.tables import Row, read_table
from training.readers.volume_files import place_of
from training.readers.volumes import (
    VolumeFile,
    check_same_grid,
    load_picture,
    open_volume,
)
from training.registry import DatasetSpec

__all__ = ["RexLayout", "read_rexgroundingct"]

_NAME = re.compile(r"((?:train|valid|test)_\d+)_([a-z]+)_\d+")
"""Patient, study and reconstruction in a scan's name, as CT-RATE makes them."""

_LISTS = ("train", "val", "test")


class RexLayout(ImageLayout):
    """Options of the reader."""

    dataset: str = "dataset.json"
    segmentations: str = "segmentations"
    images: str = "images"
    metadata: str | None = None
    """CT-RATE's table of Rescale Slope, Rescale Intercept and spacing, for scans
    stored as the scanner numbered them; None: the files say it themselves"""
    axis_codes: str | None = None
    """Towards what the stored axes of scans and masks grow, as ``LPS``, where the
    headers are known to be wrong; None: as the headers say"""
    masks: Literal["header", "scan"] = "header"
    """Where a mask lies: as its header says, which must agree with the scan's, or
    voxel by voxel on its scan"""

    @field_validator("axis_codes")
    @classmethod
    def _check_codes(cls, codes: str | None) -> str | None:
        axes = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
        if codes is not None and sorted(axes.get(one, -1) for one in codes) != [
            0,
            1,
            2,
        ]:
            raise ValueError("not three of R, L, A, P, S and I")
        return codes


def read_rexgroundingct(root: Path, spec: DatasetSpec) -> Iterator[SourceImage]:
    """Yield every scan with masks, in the order of the lists.

    Raises
    ------
    DatasetError
        A list is broken, a scan or its mask is missing, or the mask has other
        findings than the list.
    """
    layout = RexLayout.of(spec)
    lists = read_json(root / layout.dataset)
    metadata = (
        {}
        if layout.metadata is None
        else {row.text("VolumeName"): row for row in read_table(root / layout.metadata)}
    )
    for key in _LISTS:
        for item in lists.items(key):
            node = item.member("name")
            name = node.text()
            match = _NAME.fullmatch(name.removesuffix(".nii.gz"))
            if match is None:
                node.fail("not the name of a scan of CT-RATE")
            masks = root / layout.segmentations / name
            if key == "test" and not masks.is_file():
                continue  # kept back by the challenge
            path = layout.find(
                _scan_path(root / layout.images, name, match), node.place
            )
            if path is None:
                continue
            image = _placed(open_volume(path), layout, metadata.get(name))
            yield _scan(
                item,
                spec,
                image=image,
                masks=_masks(masks, image, layout),
                rescale=_rescale(name, layout, metadata),
                match=match,
                key=key,
            )


def _scan(
    item: Node,
    spec: DatasetSpec,
    *,
    image: VolumeFile,
    masks: VolumeFile,
    rescale: tuple[float, float],
    match: re.Match[str],
    key: str,
) -> SourceImage:
    findings = dict(item.member("findings").members())
    if sorted(findings) != sorted(map(str, range(len(findings)))):
        item.fail("findings are not counted from 0")
    if len(findings) != (masks.channels or 1):
        raise DatasetError(
            f"{place_of(masks.path)}: has {masks.channels or 1} masks, "
            f"{item.place} {len(findings)} findings"
        )
    categories = (
        dict(item.member("categories").members()) if "categories" in item else {}
    )
    regions = []
    for number, node in findings.items():
        text = node.text().strip()
        category = categories.get(number)
        regions.append(
            SourceRegion(
                label=text if category is None else category.text(),
                phrase=text,
                mask=partial(_finding_mask, masks, image, int(number)),
                laterality=side_of(text),
                complete=key != "train",
            )
        )
    return SourceImage(
        image_id=match[0],
        load=partial(_load, image, rescale),
        regions=tuple(regions),
        modality=spec.modality,
        body_part=spec.body_part,
        patient_id=match[1],
        study_id=f"{match[1]}_{match[2]}",
        split=official_split(key),
    )


def _scan_path(folder: Path, name: str, match: re.Match[str]) -> Path:
    """Return where a scan lies: in the folder, or in CT-RATE's tree below it."""
    tree = folder / match[1] / f"{match[1]}_{match[2]}" / name
    return tree if tree.is_file() else folder / name


def _placed(image: VolumeFile, layout: RexLayout, row: Row | None) -> VolumeFile:
    """Correct the orientation and spacing of a scan whose header is wrong."""
    if layout.axis_codes is None:
        return image
    spacing = np.linalg.norm(image.affine_ras[:3, :3], axis=0)
    if row is not None:
        across = re.findall(r"[0-9.eE+-]+", row.text("XYSpacing"))
        values = [*across[:2], row.text("ZSpacing")]
        try:
            spacing = np.array([float(value) for value in values])
        except ValueError:
            row.fail("XYSpacing and ZSpacing are not numbers")
        if spacing.shape != (3,) or not (spacing > 0).all():
            row.fail("XYSpacing and ZSpacing are not three numbers above 0")
    library: Any = nibabel.orientations
    turn = library.axcodes2ornt(tuple(layout.axis_codes))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (ras, sign) in enumerate(turn):
        affine[int(ras), axis] = sign * spacing[axis]
    return replace(image, affine_ras=affine)


def _masks(path: Path, image: VolumeFile, layout: RexLayout) -> VolumeFile:
    masks = open_volume(path, channels_first=True)
    if layout.axis_codes is None and layout.masks == "header":
        return masks
    return replace(masks, affine_ras=image.affine_ras)


def _rescale(
    name: str, layout: RexLayout, metadata: dict[str, Row]
) -> tuple[float, float]:
    if layout.metadata is None:
        return 1.0, 0.0
    if name not in metadata:
        raise DatasetError(f"{layout.metadata}: has no line for {name}")
    row = metadata[name]
    return row.number("RescaleSlope"), row.number("RescaleIntercept")


def _load(image: VolumeFile, rescale: tuple[float, float]) -> Picture:
    picture = load_picture(image)
    slope, intercept = rescale
    if rescale == (1.0, 0.0):
        return picture
    hounsfield = picture.pixels.astype(np.float32) * slope + intercept
    return replace(picture, pixels=hounsfield.astype(np.float32))


def _finding_mask(masks: VolumeFile, image: VolumeFile, channel: int) -> Mask:
    check_same_grid(image, masks)
    # A voxel holds the number of its place within the finding.
    return np.asarray(masks.read(channel) != 0)
