from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.errors import DatasetError
from training.readers.node_corrections import read_node_corrections
from training.readers.source import SourceImage
from training.registry import load_registry

SPEC = load_registry()["node-corrections"]
MASK = np.zeros((5, 7), np.bool_)
MASK[1, 2:6] = MASK[2:4, 5] = True


def _export(root: Path, *, schema: str = "dicom-node-corrections/1") -> dict[str, Any]:
    region = {
        "phrase": "ulcer of the left leg",
        "label": "Ulcer",
        "laterality": "left",
        "codes": {"finding": ["429040005", "SCT", "Ulcer"]},
        "verdict": "redraw",
        "person": "ab12",
        "year": 2026,
        "status": "present",
        "mask": 0,
        "boxes_xyxy": [[2, 1, 6, 4]],
    }
    empty = {"verdict": "reject", "status": "absent", "mask": None, "boxes_xyxy": []}
    document = {
        "patient": "p1",
        "study": "s1",
        "modality": "XC",
        "body_part": None,
        "is_volume": False,
        "spacing_mm": None,
        "windows": [],
        "model": "c0ffee",
        "digest": "d",
        "regions": [region, {**region, **empty, "phrase": "rash", "laterality": None}],
    }
    folder = root / "images" / "0f"
    folder.mkdir(parents=True)
    (root / "node-corrections.json").write_text(json.dumps({"schema": schema}))
    _write(root, document)
    np.save(folder / "pixels.npy", np.zeros((5, 7, 3), np.uint8))
    np.save(folder / "mask-0.npy", np.packbits(MASK))
    # What was being written when the export was killed is no picture.
    (root / "images" / ".1f.part").mkdir()
    (root / "images" / ".1f.part" / "image.json").write_text("{")
    return document


def _write(root: Path, document: dict[str, Any]) -> None:
    (root / "images" / "0f" / "image.json").write_text(json.dumps(document))


def _read(root: Path) -> list[SourceImage]:
    return list(read_node_corrections(root, SPEC))


def test_a_drawing_and_a_denial_of_a_photograph_are_read(tmp_path: Path) -> None:
    _export(tmp_path)

    (image,) = _read(tmp_path)

    drawn, denied = image.regions
    assert drawn.mask is not None
    np.testing.assert_array_equal(drawn.mask(), MASK)
    assert image.load().pixels.shape == (5, 7, 3)
    assert (drawn.status, drawn.laterality, drawn.tier) == ("present", "L", "manual")
    assert drawn.boxes_xyxy == ((2.0, 1.0, 6.0, 4.0),)
    assert drawn.codes == {"finding": ("429040005", "SCT", "Ulcer")}
    assert (denied.status, denied.mask, denied.boxes_xyxy) == ("absent", None, ())
    assert (image.patient_id, image.study_id, image.body_part) == ("p1", "s1", None)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "perhaps"},
        {"verdict": "praise"},
        {"codes": {"finding": ["1"]}},
        {"phrase": None},
        {"boxes_xyxy": [[1, 2]]},
    ],
)
def test_a_region_that_says_nothing_possible_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    document = _export(tmp_path)
    document["regions"][0].update(change)
    _write(tmp_path, document)

    with pytest.raises(DatasetError):
        _read(tmp_path)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no export of corrections"):
        _read(tmp_path)

    _export(tmp_path, schema="something-else/1")
    with pytest.raises(DatasetError, match="not of schema"):
        _read(tmp_path)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    _export(tmp_path)
    np.save(tmp_path / "images" / "0f" / "mask-0.npy", np.zeros(3, np.uint8))
    (image,) = _read(tmp_path)
    assert image.regions[0].mask is not None

    with pytest.raises(DatasetError, match="another size"):
        image.regions[0].mask()
