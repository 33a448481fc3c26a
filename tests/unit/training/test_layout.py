from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders.exports import write_build
from tests.builders.records import make_record, make_region
from training.errors import DatasetError
from training.layout import (
    INDEX_FILE,
    RECORDS_FILE,
    Neighbour,
    PictureInfo,
    RecordFile,
    display_picture,
    read_shards,
    to_units,
)


def test_what_is_known_of_a_picture_comes_back() -> None:
    info = PictureInfo(
        0.25, -32768.0, "HU", -1000.5, 900.0, (7, 9), (Neighbour(-1, -2.5),)
    )

    assert PictureInfo.from_json(info.to_json()) == info


def test_units_are_stored_values_on_their_scale() -> None:
    info = PictureInfo(0.5, -10.0, "relative", 0.0, 1.0, (1, 2))

    units = to_units(np.array([[0, 65535]], np.uint16), info)

    assert units.tolist() == [[-10.0, 32757.5]]


def test_a_record_is_found_by_its_number(tmp_path: Path) -> None:
    records = [
        make_record(
            make_region("nodule ä"), image_id=f"t/{number}", filename=f"k{number}.png"
        )
        for number in range(4)
    ]
    write_build(tmp_path, records)

    found = RecordFile(tmp_path)

    assert len(found) == 4
    assert found[2].image_id == "t/2"
    assert [one.image_id for one in found] == [one.image_id for one in records]
    with pytest.raises(IndexError):
        found.line(4)


def test_an_index_of_other_records_is_refused(tmp_path: Path) -> None:
    write_build(tmp_path, [make_record()])
    with (tmp_path / RECORDS_FILE).open("ab") as stream:
        stream.write(b"{}\n")

    with pytest.raises(DatasetError, match=INDEX_FILE):
        RecordFile(tmp_path)


def test_a_folder_without_shards_is_no_build(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no list of shards"):
        read_shards(tmp_path)


def test_ct_is_shown_in_a_soft_tissue_window() -> None:
    info = PictureInfo(1.0, -32768.0, "HU", -1000.0, 3000.0, (1, 3))

    shown = display_picture(np.array([[31768, 32808, 35768]], np.uint16), info)

    assert shown[0, :, 0].tolist() == [0, 127, 255]
