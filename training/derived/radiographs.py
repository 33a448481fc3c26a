"""Draw labelled radiographs from banks of projections: chest and pelvis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.config import MedGLIPConfig
from training.derived.bank import ProjectionBank
from training.derived.elsewhere import absent_from
from training.derived.exposure import (
    collimate,
    draw_masses,
    expose,
    hang_things,
)
from training.derived.frame import lay, place
from training.derived.source import LabelledPicture
from training.derived.volumes import LABEL_TABLES

__all__ = ["RadiographSource", "mirrored_name"]

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_MASS = "lung_mass"
_MIRRORED = 0.12
"""Share of mirrored pictures: a heart on the right is rare, but is drawn as one."""
_UNSEEN_MM = {"chest": (30.0, 8.0), "pelvis": (40.0, 32.0)}
"""What the film leaves out of a projection above and below."""
_PELVIC = ("hip_", "femur_", "sacrum", "gluteus", "urinary_bladder", "prostate")
"""Structures (by the start of their names) that no chest radiograph shows."""
_THORACIC = ("heart", "lung", "pulmonary", "trachea", "thyroid", "scapula", "clavicula")
"""Structures that no radiograph of the pelvis and lower abdomen shows."""


@dataclass(frozen=True, eq=False)
class RadiographSource:
    """Radiographs of one patient in many poses and exposures.

    The labels are projected ones: where a ray runs far enough through a structure of
    the CT. ``weight`` says how much they count beside manual labels.
    """

    bank: ProjectionBank
    region: str
    """``chest`` or ``pelvis``"""
    view: str
    """``frontal`` or ``lateral``"""
    weight: float = 1.0

    @property
    def name(self) -> str:
        """Region and view."""
        return f"radiograph_{self.region}_{self.view}"

    @property
    def structures(self) -> tuple[str, ...]:
        """Projected structures, then what is painted into the lungs."""
        painted = (_MASS,) if self.region == "chest" else ()
        return (*self.bank.structures, *painted)

    @property
    def label_space(self) -> frozenset[str]:
        """Structures with an outline here, and those of other parts of the body."""
        starts = _PELVIC if self.region == "chest" else _THORACIC
        names = {name for table in LABEL_TABLES.values() for name in table.values()}
        far = {name for name in names if name.startswith(starts)}
        here = set(self.structures)
        if self.view == "lateral":
            here.discard("lung_right")  # it is seen, but not apart from the left one
            far -= {name for name in far if name.startswith("lung_")}
        return frozenset(far | here) | absent_from("torso")

    @property
    def unknown(self) -> frozenset[str]:
        """Concepts that no label of this source can judge."""
        if self.region == "chest":
            return frozenset({"cervical spine", "thyroid", "larynx", "breast"})
        return frozenset({"uterus", "ovary", "pregnancy"})

    def draw(
        self,
        rng: np.random.Generator,
        *,
        config: MedGLIPConfig,
        shape: tuple[int, int],
    ) -> LabelledPicture:
        """Draw one exposure: a pose of the bank, cropped, exposed and hung about."""
        number = int(rng.integers(len(self.bank)))
        soft, bone = self.bank.read(number)
        masks = [self.bank.mask(number, i) for i in range(len(self.bank.structures))]
        names = list(self.bank.structures)
        field = self._draw_field(soft.shape, rng)
        soft, bone = (field.sample(values) for values in (soft, bone))
        masks = [field.sample(mask.astype(np.float32)) > 0.5 for mask in masks]
        if self.region == "chest":
            lungs = np.logical_or.reduce(
                [m for n, m in zip(names, masks, strict=True) if n.startswith("lung")]
            )
            added, mass = draw_masses(lungs, rng, pixel_mm=field.pixel_mm)
            soft = soft + added
            names, masks = [*names, _MASS], [*masks, mass]
        picture = expose(soft, bone, rng)
        modality = str(rng.choice(["CR", "DX"]))
        is_told = rng.random() < 0.5
        flipped = rng.random() < (0.5 if self.view == "lateral" else _MIRRORED)
        if flipped:
            picture = picture[:, ::-1]
            masks = [mask[:, ::-1] for mask in masks]
            if self.view == "frontal":
                names = [mirrored_name(name) for name in names]
        picture, is_open = collimate(hang_things(picture, rng), rng)
        masks = [mask & is_open for mask in masks]
        top, left = place(picture.shape, shape, rng)
        labels = np.zeros((len(masks), *shape), dtype=np.uint8)
        for plane, name, mask in zip(labels, names, masks, strict=True):
            lay(
                mask.astype(np.uint8) * (self.structures.index(name) + 1),
                plane,
                top=top,
                left=left,
            )
        image = np.full(shape, picture.min(), dtype=np.float32)
        lay(picture, image, top=top, left=left)
        return LabelledPicture(
            image=image[None],
            labels=labels,
            modality=modality,
            body_part=self.region.upper() if is_told else None,
            weight=self.weight,
        )

    def _draw_field(self, shape: tuple[int, ...], rng: np.random.Generator) -> _Field:
        """Draw the part of the projection that the film shows."""
        # Rows near the ends only repeat the volume's last slice: films hardly show it.
        top, bottom = _UNSEEN_MM[self.region]
        extent = np.array(shape) * self.bank.pixel_mm
        seen = extent - (top + bottom, 0.0)
        height, width = seen * rng.uniform(0.68, 1.0, 2)
        if rng.random() < 0.7:  # films are seldom narrower than five to six
            longest = max(height, width)
            height, width = (max(side, longest * 0.82) for side in (height, width))
        room = (seen - (height, width)) / 2
        centre = seen / 2 + room.clip(0.0) * rng.uniform(-1.0, 1.0, 2) + (top, 0.0)
        longest_px = rng.uniform(98.0, 144.0)
        pixel_mm = max(height, width) / longest_px
        return _Field(
            centre=(float(centre[0]), float(centre[1])),
            rows=max(16, round(height / pixel_mm)),
            columns=max(16, round(width / pixel_mm)),
            pixel_mm=float(pixel_mm),
            turn_deg=float(rng.normal(0.0, 2.5)),
            source_mm=self.bank.pixel_mm,
        )


@dataclass(frozen=True)
class _Field:
    """A turned rectangle on a projection, with the pixels of the film."""

    centre: tuple[float, float]
    """(row, column) in mm"""
    rows: int
    columns: int
    pixel_mm: float
    turn_deg: float
    source_mm: float

    def sample(self, values: FloatArray) -> FloatArray:
        """Read (rows, columns) of the film, low-passed first when it is coarser."""
        blur = max(0.0, 0.5 * (self.pixel_mm / self.source_mm - 1.0))
        y = (np.arange(self.rows) - (self.rows - 1) / 2) * self.pixel_mm
        x = (np.arange(self.columns) - (self.columns - 1) / 2) * self.pixel_mm
        down, across = np.meshgrid(y, x, indexing="ij")
        c, s = np.cos(np.deg2rad(self.turn_deg)), np.sin(np.deg2rad(self.turn_deg))
        points = np.stack((c * down - s * across, s * down + c * across))
        points += np.array(self.centre)[:, None, None]
        smooth = ndimage.gaussian_filter(values, blur) if blur > 0.05 else values
        return np.asarray(
            ndimage.map_coordinates(
                smooth, points / self.source_mm - 0.5, order=1, mode="nearest"
            ),
            dtype=np.float32,
        )


def mirrored_name(name: str) -> str:
    """Return the structure's name in a mirrored picture."""
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")
