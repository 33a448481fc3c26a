from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.config import LimitSettings
from dicom_node.corrections.segments import read_segments
from dicom_node.errors import OutOfResourcesError, PixelDecodingError
from dicom_node.imaging import Display, PixelReader, find_series
from dicom_node.web.frames import FrameCache, ShownFrame, ShownSeries
from tests.builders.dicom_series import make_ct_series
from tests.builders.finished_study import finish_study
from tests.builders.process import wait_until
from tests.builders.websites import open_site

SLICES = 40
FRAME_BYTES = 24 * 32 * 2


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> ShownSeries:
    made = make_ct_series(tmp_path_factory.mktemp("ct"), slices=SLICES)
    (series,), _ = find_series(made.instances)
    return ShownSeries(series, Display("int16"))


@pytest.fixture
def cache() -> Iterator[FrameCache]:
    one = FrameCache(LimitSettings(), max_bytes=10 * FRAME_BYTES)
    yield one
    one.close()


def test_memory_holds_no_more_than_it_may(
    cache: FrameCache, shown: ShownSeries
) -> None:
    for index in range(SLICES):
        cache.frame(shown, index)

    assert cache._bytes == 10 * FRAME_BYTES
    assert len(cache._frames) == 10


def test_frames_around_the_one_that_is_shown_are_read_before_they_are_asked_for(
    shown: ShownSeries,
) -> None:
    cache = FrameCache(LimitSettings())
    cache.start()
    try:
        cache.frame(shown, 10)
        for _ in range(200):
            with cache._lock:
                if len(cache._frames) >= SLICES - 1 and not cache._being_read:
                    break
            threading.Event().wait(0.05)
    finally:
        cache.close()

    # 32 ahead would be more than there are; 16 behind reach the first.
    assert len(cache._frames) == SLICES


def test_many_who_ask_for_the_same_frame_get_it_from_one_decoding(
    shown: ShownSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FrameCache(LimitSettings())
    asked: list[list[int]] = []
    decode = cache._decode

    def count(series: ShownSeries, indices: list[int]) -> object:
        asked.append(indices)
        return decode(series, indices)

    monkeypatch.setattr(cache, "_decode", count)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.frame(shown, 3).data))
        for _ in range(8)
    ]

    for one in threads:
        one.start()
    for one in threads:
        one.join()
    cache.close()

    assert asked == [[3]]
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_frame_that_cannot_be_decoded_fails_alone(
    cache: FrameCache, shown: ShownSeries, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.dcm"
    ds = pydicom.dcmread(shown.series.frames[0].path)
    ds.PixelData = ds.PixelData[:10]
    ds.save_as(broken)
    frames = (replace(shown.series.frames[0], path=broken), *shown.series.frames[1:])
    other = ShownSeries(replace(shown.series, frames=frames), shown.display)

    with pytest.raises(PixelDecodingError):
        cache.frame(other, 0)

    assert len(cache.frame(other, 1).data) == FRAME_BYTES
    with pytest.raises(PixelDecodingError):
        cache.frame(other, 0)


def test_what_reads_ahead_goes_on_after_the_machine_lacked_something(
    shown: ShownSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FrameCache(LimitSettings())
    opened, decoded = cache._open, cache._decode
    tried: list[str] = []

    def open_later() -> PixelReader:
        if not tried:
            tried.append("open")
            raise OSError(errno.EMFILE, "no descriptor")
        return opened()

    def decode_later(series: ShownSeries, indices: list[int]) -> list[ShownFrame]:
        if threading.current_thread() is cache._ahead and "read" not in tried:
            tried.append("read")
            raise MemoryError
        return decoded(series, indices)

    monkeypatch.setattr(cache, "_open", open_later)
    monkeypatch.setattr(cache, "_decode", decode_later)
    cache.start()
    try:
        wait_until(lambda: tried == ["open"], timeout_s=30, what="the first try")
        cache.frame(shown, 0)
        wait_until(lambda: "read" in tried, timeout_s=30, what="the second")
        wait_until(lambda: not cache._being_read, timeout_s=30, what="its end")
        cache.frame(shown, 0)
        wait_until(lambda: len(cache._frames) > 8, timeout_s=30, what="frames ahead")
        assert cache._ahead is not None
        assert cache._ahead.is_alive()
    finally:
        cache.close()


def test_a_node_that_stops_decodes_no_more(
    cache: FrameCache, shown: ShownSeries
) -> None:
    cache.close()

    with pytest.raises(OutOfResourcesError):
        cache.frame(shown, 0)


@pytest.mark.parametrize(("rows", "columns"), [(24, 32), (13, 11)])
def test_both_encodings_of_a_segmentation_read_the_same(
    tmp_path: Path, rows: int, columns: int
) -> None:
    found = []
    for profile in ("ohif", "labelmap"):
        with open_site(tmp_path / profile) as site:
            study = finish_study(
                site.store,
                site.data_dir,
                profile=profile,
                slices=4,
                rows=rows,
                columns=columns,
                study_uid="1.2.3",
                series_uid="1.2.3.4",
            )
            (seg, _) = site.store.details.results(study.version_id)
            found.append(read_segments(site.data_dir / seg.path))

    binary, labels = found
    assert [one.runs for one in binary[1]] == [one.runs for one in labels[1]]
    mask = np.zeros((rows, columns), np.bool_)
    runs = binary[1][0].runs
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask.ravel()[start : start + length] = True
    expected = np.zeros((rows, columns), np.bool_)
    expected[2:7, 3:5] = expected[6, 3:7] = True
    assert np.array_equal(mask, expected)
