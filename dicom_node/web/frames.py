"""Frames for the page: decoded in the limited process, kept, and read ahead.

Who scrolls asks for one frame after the other. The frame that is asked for comes
first; those around it are decoded in one batch before they are asked for.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import OutOfResourcesError
from dicom_node.records import ImageSeries

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.config import LimitSettings
    from dicom_node.imaging import Display, PixelReader

__all__ = ["FrameCache", "ShownFrame", "ShownSeries"]

_MAX_BYTES = 256 << 20
"""Memory for frames: a CT of 512 slices."""

_AHEAD = 32
"""Frames that are read in the direction of scrolling, and half as many behind."""

_BATCH = 8
"""Frames that are decoded together: the page may change its mind after each batch."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame as the page gets it."""

    data: bytes
    """Rows, then columns; int16 in little endian, or 8 bits."""
    low: float
    high: float
    etag: str


@dataclass(frozen=True, eq=False)
class ShownSeries:
    """A series and how it is shown."""

    series: ImageSeries
    display: Display


class FrameCache:
    """Decodes frames and keeps them; safe to share between threads.

    Parameters
    ----------
    limits : LimitSettings
        What decoding may cost.
    max_bytes : int
        Memory for decoded frames.
    scratch_dir : pathlib.Path, optional
        As for `PixelReader`.

    """

    def __init__(
        self,
        limits: LimitSettings,
        *,
        max_bytes: int = _MAX_BYTES,
        scratch_dir: Path | None = None,
    ) -> None:
        self._limits = limits
        self._scratch_dir = scratch_dir
        self._max_bytes = max_bytes
        self._frames: OrderedDict[tuple[str, int], ShownFrame] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reader: PixelReader | None = None
        self._being_read: dict[tuple[str, int], threading.Event] = {}
        self._wanted: tuple[ShownSeries, int, int] | None = None
        self._is_wanted = threading.Condition(self._lock)
        self._is_closed = False
        self._last: tuple[str, int] = ("", 0)
        self._ahead: threading.Thread | None = None

    def start(self) -> None:
        """Start what decodes, so that the first frame does not wait for it."""
        self._ahead = threading.Thread(
            target=self._read_ahead, name="frames", daemon=True
        )
        self._ahead.start()

    def close(self) -> None:
        """End what decodes."""
        with self._lock:
            self._is_closed = True
            self._is_wanted.notify_all()
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def frame(self, shown: ShownSeries, index: int) -> ShownFrame:
        """Return a frame of a series.

        Parameters
        ----------
        shown : ShownSeries
            The series.
        index : int
            In its order, from 0.

        Raises
        ------
        PixelDecodingError
            It cannot be decoded within the limits.
        OutOfResourcesError
            The node is stopping.

        """
        key = _key(shown, index)
        while True:
            with self._lock:
                found = self._frames.get(key)
                if found is not None:
                    self._frames.move_to_end(key)
                    self._want(shown, index)
                    return found
                reading = self._being_read.get(key)
                if reading is None:
                    self._being_read[key] = threading.Event()
                    break
            # Another thread decodes it; if it fails there, it is tried here.
            reading.wait(self._limits.decode_timeout_s)
        try:
            (found,) = self._decode(shown, [index])
        finally:
            with self._lock:
                self._being_read.pop(key).set()
        with self._lock:
            self._want(shown, index)
        return found

    def _want(self, shown: ShownSeries, index: int) -> None:
        last_uid, last_index = self._last
        uid = f"{shown.series.series_instance_uid} {shown.series.stack_number}"
        step = -1 if last_uid == uid and index < last_index else 1
        self._last = (uid, index)
        self._wanted = (shown, index, step)
        self._is_wanted.notify_all()

    def _read_ahead(self) -> None:
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - who asks for a frame tries again
            _log.info("frames_not_read_ahead", error=type(error).__name__)
        while True:
            with self._lock:
                while self._wanted is None and not self._is_closed:
                    self._is_wanted.wait()
                if self._is_closed or self._wanted is None:
                    return
                wanted = self._wanted
                batch = self._missing(*wanted)
                for index in batch:
                    key = _key(wanted[0], index)
                    self._being_read[key] = threading.Event()
                if not batch:
                    self._wanted = None
                    continue
            try:
                self._decode(wanted[0], batch)
            except Exception as error:  # noqa: BLE001 - it reads on
                # Who asks for such a frame learns why.
                _log.info("frames_not_read_ahead", error=type(error).__name__)
                with self._lock:
                    if self._wanted is wanted:
                        self._wanted = None
            finally:
                with self._lock:
                    for index in batch:
                        self._being_read.pop(_key(wanted[0], index)).set()

    def _missing(self, shown: ShownSeries, index: int, step: int) -> list[int]:
        """Return what is read next: frames that are near and not there."""
        count = len(shown.series.frames)
        found = []
        for distance in _around(step):
            near = index + distance
            key = _key(shown, near) if 0 <= near < count else None
            if key is None or key in self._frames or key in self._being_read:
                continue
            found.append(near)
            if len(found) == _BATCH:
                break
        return found

    def _open(self) -> PixelReader:
        # Imported here: the node listens before all this is loaded.
        from dicom_node.imaging import PixelReader

        with self._lock:
            if self._is_closed:
                raise OutOfResourcesError("the node is stopping")
            if self._reader is None:
                self._reader = PixelReader(self._limits, scratch_dir=self._scratch_dir)
                self._reader.start()
            return self._reader

    def _decode(self, shown: ShownSeries, indices: list[int]) -> list[ShownFrame]:
        from dicom_node.imaging import to_display

        series = shown.series
        part = replace(
            series,
            frames=tuple(series.frames[index] for index in indices),
            affine_lps=None,
        )
        pixels = self._open().read(part)
        made = []
        for index, one in zip(indices, pixels, strict=True):
            values = to_display(one, shown.display)
            key = _key(shown, index)
            frame = ShownFrame(
                values.tobytes(), float(values.min()), float(values.max()), _etag(key)
            )
            made.append(frame)
            with self._lock:
                self._keep(key, frame)
        return made

    def _keep(self, key: tuple[str, int], frame: ShownFrame) -> None:
        old = self._frames.pop(key, None)
        self._bytes += len(frame.data) - (0 if old is None else len(old.data))
        self._frames[key] = frame
        while self._bytes > self._max_bytes and len(self._frames) > 1:
            _, gone = self._frames.popitem(last=False)
            self._bytes -= len(gone.data)


def _key(shown: ShownSeries, index: int) -> tuple[str, int]:
    frame = shown.series.frames[index]
    display = shown.display
    # The path is named by the hash of what is in it.
    name = f"{frame.path} {display.dtype} {display.slope} {display.intercept}"
    return name, frame.frame_number


def _etag(key: tuple[str, int]) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]


def _around(step: int) -> Iterator[int]:
    for distance in range(1, _AHEAD + 1):
        yield step * distance
        if distance % 2 == 0:
            yield -step * distance // 2
