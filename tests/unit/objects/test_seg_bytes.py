"""The bytes of a SEG that are written piece by piece are those that pydicom writes."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from dicom_node.errors import ObjectError
from dicom_node.objects import make_objects
from dicom_node.objects.files import Frames, PixelStream, write_object
from dicom_node.records import ImageSeries, PhraseResult, PhraseStatus, ResultObject
from tests.builders.dicom_series import make_ct_series
from tests.builders.result_cases import SERIES
from tests.builders.study_results import (
    image_series,
    make_phrase,
    make_region,
    make_result,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSeries:
    return SERIES["axial"](tmp_path_factory.mktemp("source"))


def _make(
    series: ImageSeries, seed: int, count: int, folder: Path
) -> tuple[ResultObject, Any]:
    """Draw boxes that lie anywhere; return the first SEG and the drawn masks."""
    generator = np.random.default_rng(seed)
    shape = (len(series.frames), series.rows, series.columns)
    labels = np.zeros((count, *shape), bool)
    for mask in labels:
        begin = [int(generator.integers(0, size)) for size in shape]
        end = [
            int(generator.integers(low, size)) + 1
            for low, size in zip(begin, shape, strict=True)
        ]
        mask[tuple(slice(*ends) for ends in zip(begin, end, strict=True))] = True
    found = [
        PhraseResult(
            phrase=make_phrase(f"region {number}"),
            status=PhraseStatus.PRESENT,
            regions=(make_region(series, mask, str(number)),),
            score=0.5,
            uncertainty=0.5,
        )
        for number, mask in enumerate(labels)
    ]
    made = make_objects(make_result([series], found), out_dir=folder)
    return made[0], labels


def _rewritten(path: Path) -> bytes:
    """Decode every element, and let pydicom encode all of them anew."""
    read = dcmread(path)
    fresh = Dataset()
    fresh.file_meta = read.file_meta
    for element in read:
        fresh.add(element)
    for _ in fresh.iterall():
        pass
    target = BytesIO()
    fresh.save_as(target, enforce_file_format=True)
    return target.getvalue()


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 4))
def test_a_segmentation_has_the_bytes_that_pydicom_writes(
    source: ImageSeries, tmp_path: Path, seed: int, count: int
) -> None:
    made, masks = _make(source, seed, count, tmp_path)
    written = made.path.read_bytes()

    assert written == _rewritten(made.path)
    assert hashlib.sha256(written).hexdigest() == made.sha256
    # Each frame says which frame of the source and which segment it is.
    seg = hd.seg.segread(made.path)
    pixels = seg.pixel_array.reshape(-1, source.rows, source.columns)
    assert len(pixels) == sum(int(mask.any(axis=(1, 2)).sum()) for mask in masks)
    by_uid = {item.TrackingID: item.SegmentNumber for item in seg.SegmentSequence}
    assert len(by_uid) == count
    drawn = {frame.tobytes() for mask in masks for frame in mask if frame.any()}
    assert {frame.astype(bool).tobytes() for frame in pixels} == drawn


def test_pixels_of_another_length_than_announced_are_refused(tmp_path: Path) -> None:
    series = image_series(make_ct_series(tmp_path, slices=1).instances)
    ds = dcmread(series.frames[0].path)
    del ds.PixelData

    with pytest.raises(ObjectError, match="3 bytes"):
        write_object(
            ds,
            tmp_path / "short.dcm",
            frames=Frames([], PixelStream("OB", 4, [b"\1\2", b"\3"])),
        )
