from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_dicom,
    save_text,
)
from training.errors import DatasetError
from training.readers.siim import decode_relative_runs

HEADER = "ImageId, EncodedPixels\n"
SIZE = 8


def write(root: Path, rows: str) -> Path:
    save_text(root / "train-rle.csv", HEADER + rows)
    for name in ("1.2.3.1", "1.2.3.2"):
        folder = root / "dicom-images-train" / f"{name}.8" / f"{name}.9"
        save_dicom(folder / f"{name}.dcm", np.zeros((SIZE, SIZE), np.uint8))
    return root


def encode(mask: np.ndarray) -> list[int]:
    """Encode as the challenge's own script does: pixel by pixel, column by column."""
    runs, since, length = [], 0, 0
    for pixel in mask.T.ravel():
        if pixel:
            if not length:
                runs.append(since)
            length += 1
        else:
            if length:
                runs.append(length)
                since = length = 0
            since += 1
    return [*runs, length] if length else runs


@given(arrays(np.bool_, (SIZE, SIZE), elements=st.booleans()))
def test_a_mask_survives_its_relative_runs(mask: np.ndarray) -> None:
    assert np.array_equal(decode_relative_runs([encode(mask)], size=SIZE), mask)


def test_runs_go_down_the_columns_and_count_from_the_run_before() -> None:
    mask = decode_relative_runs([(9, 3, 6, 2)], size=SIZE)

    wanted = np.zeros((SIZE, SIZE), bool)
    wanted[1:4, 1] = True
    wanted[2:4, 2] = True
    assert np.array_equal(mask, wanted)


def test_rows_of_one_image_are_united(tmp_path: Path) -> None:
    rows = "1.2.3.1, 9 3\n1.2.3.2, -1\n1.2.3.1,0 2\n"
    spec = registered("siim-pneumothorax", size=SIZE)

    images = by_id(read_all(write(tmp_path, rows), spec))

    (region,) = images["1.2.3.1"].regions
    assert region.mask is not None
    mask = region.mask()
    assert mask.sum() == 5
    assert mask[1:4, 1].all()
    assert mask[0:2, 0].all()
    assert spec.phrase_of(region.label) == "pneumothorax"


@pytest.mark.parametrize("nothing", ["-1", " -1"])
def test_minus_one_is_absent(tmp_path: Path, nothing: str) -> None:
    spec = registered("siim-pneumothorax", size=SIZE)

    (image,) = read_all(write(tmp_path, f"1.2.3.2,{nothing}\n"), spec)

    assert image.regions == ()
    assert spec.label_space == ("pneumothorax",)
    assert image.load().pixels.shape == (SIZE, SIZE)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.2.3.1, 1 2 3", "line 2: EncodedPixels are not pairs"),
        ("1.2.3.1, 1 -2", "line 2: EncodedPixels are not pairs"),
        ("1.2.3.1, one 2", "line 2: EncodedPixels are not whole numbers"),
        ("1.2.3.1, 60 5", "line 2: EncodedPixels reach out of a picture of 8 x 8"),
        ("1.2.3.1,", "line 2: no EncodedPixels"),
        ("1.2.3.7, 1 2", r"line 2: the image 1\.2\.3\.7\.dcm is not there"),
    ],
)
def test_an_impossible_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    spec = registered("siim-pneumothorax", size=SIZE)

    with pytest.raises(DatasetError, match=message):
        read_all(write(tmp_path, row + "\n"), spec)


def test_images_that_were_never_handed_out_can_be_left_out(tmp_path: Path) -> None:
    spec = registered("siim-pneumothorax", size=SIZE, missing_images="skip")

    (image,) = read_all(write(tmp_path, "1.2.3.7, 1 2\n1.2.3.1, 1 2\n"), spec)

    assert image.image_id == "1.2.3.1"
