from __future__ import annotations

import os
import signal
import struct
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from structlog.testing import capture_logs

from dicom_node.commands.study_files import gather_studies
from dicom_node.config import LimitSettings
from dicom_node.errors import OutOfResourcesError, PixelDecodingError
from dicom_node.imaging import PixelReader, find_series
from dicom_node.imaging import pixels as pixels_module
from dicom_node.imaging.reading import Reading
from tests.builders.dicom_series import (
    make_ct_series,
    make_dx_image,
    make_enhanced_ct,
)
from tests.builders.other_images import make_photograph
from tests.builders.pixel_images import make_bomb, make_image, series_of
from tests.builders.process import wait_until


@pytest.fixture(scope="module")
def reader():
    with PixelReader(LimitSettings()) as shared:
        yield shared


@pytest.fixture
def good(tmp_path):
    made = make_ct_series(tmp_path / "good", slices=3)
    (series,), _ = find_series(made.instances)
    return series, made.voxels


def rle_header(segments):
    return struct.pack("<16L", segments, 64, *[0] * 14)


def j2k_header(rows, columns):
    siz = struct.pack(">HH8LH", 41, 0, columns, rows, 0, 0, columns, rows, 0, 0, 1)
    return b"\xff\x4f\xff\x51" + siz + bytes([15, 1, 1])


@pytest.mark.parametrize("make", [make_ct_series, make_enhanced_ct, make_dx_image])
def test_pixels_come_in_the_order_of_the_series(reader, tmp_path, make):
    made = make(tmp_path) if make is make_dx_image else make(tmp_path, reverse=True)
    (series,), _ = find_series(made.instances)

    pixels = reader.read(series)

    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, made.voxels)


@pytest.mark.parametrize(
    ("is_implicit", "is_little"), [(True, True), (False, True), (False, False)]
)
def test_bare_data_sets_are_read_too(reader, tmp_path, is_implicit, is_little):
    made = make_ct_series(tmp_path, slices=3)
    for one in made.instances:
        ds = Dataset(dcmread(one.path))
        if not is_little:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.save_as(one.path, implicit_vr=is_implicit, little_endian=is_little)
    (ready,) = gather_studies([tmp_path]).studies
    (series,), left_out = find_series(ready.instances)

    assert left_out == ()
    np.testing.assert_array_equal(reader.read(series), made.voxels)


def test_colour_comes_as_eight_bit_rgb(reader, tmp_path):
    (series,), _ = find_series([make_photograph(tmp_path)])

    pixels = reader.read(series)

    assert pixels.shape == (1, series.rows, series.columns, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("in_memory_bytes", [0, 1 << 30])
def test_the_array_can_be_changed_and_leaves_no_file(
    tmp_path, good, monkeypatch, in_memory_bytes
):
    monkeypatch.setattr(pixels_module, "_IN_MEMORY_BYTES", in_memory_bytes)
    series, voxels = good
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with PixelReader(LimitSettings(), scratch_dir=scratch) as reader:
        pixels = reader.read(series)

    assert list(scratch.iterdir()) == []
    np.testing.assert_array_equal(pixels, voxels)
    pixels[:] = 0
    assert not pixels.any()
    assert voxels.any()


def test_a_long_compressed_loop_is_shared_between_processes(reader, tmp_path):
    frames = np.random.default_rng(1).integers(0, 4000, (40, 12, 10), np.uint16)
    ds = make_image(frames, frames=40)
    ds.compress(JPEGLSLossless, generate_instance_uid=False)

    pixels = reader.read(series_of(ds, tmp_path / "loop.dcm"))

    np.testing.assert_array_equal(pixels, frames)


BOMBS = {
    "RLE of 88 bytes": (
        RLELossless,
        rle_header(1) + bytes(24),
        {"rows": 65535, "columns": 65535, "bits": 8},
        "more than",
    ),
    "RLE below the size limit": (
        RLELossless,
        rle_header(2) + bytes(24),
        {"rows": 4000, "columns": 4000},
        "88 bytes of RLE claim to hold",
    ),
    "JPEG 2000 behind a small header": (
        JPEG2000Lossless,
        j2k_header(60000, 60000),
        {"rows": 64, "columns": 64},
        "60000 x 60000",
    ),
    "JPEG 2000 behind its own header": (
        JPEG2000Lossless,
        j2k_header(30000, 30000),
        {"rows": 30000, "columns": 30000},
        "claim to hold",
    ),
    "JPEG 2000 without data": (
        JPEG2000Lossless,
        j2k_header(64, 64),
        {"rows": 64, "columns": 64},
        "cannot be decoded",
    ),
    "JPEG-LS without anything": (
        JPEGLSLossless,
        b"\0\0",
        {"rows": 64, "columns": 64},
        "cannot be decoded",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_and_the_next_series_is_read(reader, tmp_path, good, name):
    syntax, frame, size, reason = BOMBS[name]
    bomb = make_bomb(syntax, frame, **size)

    with pytest.raises(PixelDecodingError, match=reason) as refused:
        reader.read(series_of(bomb, tmp_path / "bomb.dcm"))

    assert refused.value.uid == bomb.SOPInstanceUID
    series, voxels = good
    np.testing.assert_array_equal(reader.read(series), voxels)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_readers_learn_why_and_the_log_learns_where(reader, tmp_path, syntax):
    bad = make_bomb(syntax, b"this is no codestream.", rows=64, columns=64)

    with (
        capture_logs() as logs,
        pytest.raises(PixelDecodingError) as refused,
    ):
        reader.read(series_of(bad, tmp_path / "bad.dcm"))

    assert str(refused.value) == (
        f"instance {bad.SOPInstanceUID} cannot be decoded: its pixel data is damaged, "
        "or not what its header says"
    )
    (line,) = logs
    assert line["event"] == "pixels_not_decoded"
    assert line["sop_instance_uid"] == bad.SOPInstanceUID
    assert ".py:" in line["reason"]


def test_a_decoder_that_aborts_takes_only_its_process_along(tmp_path, good):
    # The Rust decoder aborts the process when it gets no memory: with less than the
    # picture needs, an honest frame is as deadly as a bomb.
    rows = columns = 16_000
    blank = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * (rows * columns // 128)
    ds = make_bomb(RLELossless, blank, rows=rows, columns=columns, bits=8)
    limits = LimitSettings(decode_memory_mb=600)
    series, voxels = good
    with PixelReader(limits, processes=1) as reader:
        with pytest.raises(PixelDecodingError, match="ends the decoder") as ended:
            reader.read(series_of(ds, tmp_path / "huge.dcm"))
        assert "ended by SIGABRT" in str(ended.value.__cause__)

        np.testing.assert_array_equal(reader.read(series), voxels)


def test_a_slow_instance_is_given_up(good):
    series, _ = good
    limits = LimitSettings(decode_timeout_s=0.001)  # the process takes longer to start
    with (
        PixelReader(limits, processes=1) as reader,
        pytest.raises(PixelDecodingError, match=r"longer than 0\.001 s"),
    ):
        reader.read(series)


def test_a_killed_process_is_replaced(good):
    series, voxels = good
    with PixelReader(LimitSettings(), processes=1) as reader:
        reader.read(series)
        (pid,) = reader.pids
        os.kill(pid, signal.SIGKILL)

        np.testing.assert_array_equal(reader.read(series), voxels)
        assert reader.pids != (pid,)


def test_a_missing_scratch_folder_is_no_fault_of_the_image(tmp_path, good, monkeypatch):
    monkeypatch.setattr(pixels_module, "_IN_MEMORY_BYTES", 0)
    series, _ = good
    with (
        PixelReader(LimitSettings(), scratch_dir=tmp_path / "missing") as reader,
        pytest.raises(OSError, match="missing"),
    ):
        reader.read(series)


def test_frames_that_differ_from_the_header_are_refused(reader, tmp_path):
    series = series_of(make_image(np.zeros((4, 5), np.uint16)), tmp_path / "x.dcm")
    ds = make_image(np.zeros((5, 4), np.uint16))
    ds.SOPInstanceUID = series.frames[0].sop_instance_uid
    series_of(ds, tmp_path / "x.dcm")

    with pytest.raises(PixelDecodingError, match="differ from the header"):
        reader.read(series)


def test_all_series_that_are_held_share_the_memory(tmp_path, good, monkeypatch):
    series, voxels = good
    size = voxels.astype(np.float32).nbytes
    monkeypatch.setattr(pixels_module, "_IN_MEMORY_BYTES", size)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with PixelReader(LimitSettings(), processes=1, scratch_dir=scratch) as reader:
        first = reader.read(series)
        second = reader.read(series)
        held = [_mapped_from(one) for one in (first, second)]
        part = first[1:]
        del first
        third = _mapped_from(reader.read(series))
        del part
        fourth = _mapped_from(reader.read(series))

    assert [str(scratch) in one for one in (*held, third, fourth)] == [
        False,
        True,
        True,
        False,
    ]
    np.testing.assert_array_equal(second, voxels)


def _mapped_from(pixels):
    """Return the name that the kernel has for what an array is mapped from."""
    start = f"{pixels.ctypes.data:x}-"
    (line,) = (
        line
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.startswith(start)
    )
    return line


@pytest.mark.parametrize("ends", ["reading", "reader"])
def test_what_nobody_wants_any_more_is_not_decoded_to_its_end(good, ends, tmp_path):
    series, voxels = good
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # whoever reads it waits for a writer
    stuck = replace(
        series, frames=tuple(replace(one, path=pipe) for one in series.frames)
    )
    reading, raised = Reading(), []
    with PixelReader(LimitSettings(), processes=1) as reader:
        reader.start()

        def read():
            try:
                reader.read(stuck, reading=reading)
            except OutOfResourcesError as error:
                raised.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        wait_until(lambda: reading._children, timeout_s=30, what="the request")
        if ends == "reading":
            reading.end(grace_s=0.01)
        else:
            reader.close()
        thread.join(30)  # the limit of an instance is two minutes

        assert not thread.is_alive()
        assert len(raised) == 1
        with pytest.raises(OutOfResourcesError):
            reading.using(None).__enter__()
        np.testing.assert_array_equal(reader.read(series), voxels)
