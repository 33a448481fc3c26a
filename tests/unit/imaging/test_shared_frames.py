"""Threads that share a frame of JPEG 2000 find what one finds, or fail as it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagecodecs import jpeg2k_encode
from numpy.typing import NDArray
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless

from dicom_node.config import LimitSettings
from dicom_node.imaging import PixelReader, find_series
from dicom_node.imaging import pixels as reading
from dicom_node.imaging.fast_codecs import decode_grey, use_threads
from tests.bench.pixel_files import make_files

_SIZE = (150, 170)
_SHARED = 3


@pytest.fixture(autouse=True)
def _one_thread_after() -> Iterator[None]:
    yield
    use_threads(1)


def _frame() -> bytes:
    rng = np.random.default_rng(7)
    smooth = np.add.outer(np.arange(_SIZE[0]), np.arange(_SIZE[1]))
    stored = (smooth + rng.integers(0, 64, _SIZE)).astype(np.uint16)
    return bytes(jpeg2k_encode(stored, level=0, codecformat="j2k", reversible=True))


_FRAME = _frame()


def _found(frame: bytes, *, threads: int) -> NDArray[np.generic] | str:
    use_threads(threads)
    try:
        return decode_grey(frame, JPEG2000Lossless, size=_SIZE)
    except RuntimeError as error:
        return type(error).__name__


def test_a_whole_frame_has_the_same_samples() -> None:
    np.testing.assert_array_equal(
        _found(_FRAME, threads=1), _found(_FRAME, threads=_SHARED)
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(100, len(_FRAME) - 1), st.integers(1, 255))),
    st.integers(0, 400),
)
def test_a_damaged_frame_has_the_same_samples_or_the_same_trouble(
    flips: list[tuple[int, int]], missing: int
) -> None:
    damaged = bytearray(_FRAME)
    for place, change in flips:
        damaged[place] ^= change
    frame = bytes(damaged[: len(damaged) - missing])

    np.testing.assert_array_equal(
        _found(frame, threads=1), _found(frame, threads=_SHARED)
    )


def test_processes_that_would_rest_lend_their_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = reading.ChildProcess.ask

    def note(child: Any, request: Any, **how: Any) -> Any:
        asked.append(request["threads"])
        return ask(child, request, **how)

    monkeypatch.setattr(reading.ChildProcess, "ask", note)
    with PixelReader(LimitSettings(), processes=3) as reader:
        for count, threads in ((1, {3}), (9, {1})):
            folder = tmp_path / str(count)
            files = make_files(folder, HTJ2KLossless, count=count, size=32)
            (series,), _ = find_series(files.instances)
            asked.clear()
            assert len(reader.read(series)) == count
            assert set(asked) == threads
