"""Read the pixels of a series, decoded in limited child processes."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import structlog

from dicom_node.child.answers import Answer
from dicom_node.child.process import ChildProcess
from dicom_node.errors import OutOfResourcesError, PixelDecodingError, ProcessLostError
from dicom_node.imaging.reading import Reading
from dicom_node.imaging.room import PixelRoom
from dicom_node.records import FrameReference, ImageSeries

if TYPE_CHECKING:
    from dicom_node.config import LimitSettings

__all__ = ["PixelReader", "Pixels"]

Pixels: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
"""``(frames, rows, columns)`` float32 in modality units, larger is brighter, or
``(frames, rows, columns, 3)`` uint8 RGB."""

_CHILD = "dicom_node.imaging.decode_child"

_log = structlog.get_logger(__name__)

_NO_ROOM = OutOfResourcesError.__name__
"""How the child says that the scratch folder is full."""

_DAMAGED = "its pixel data is damaged, or not what its header says"

_FRAMES_PER_REQUEST = 16
"""A multi-frame instance is decoded in portions, so that processes share it."""

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


_BYTES_PER_REQUEST = 8 << 20
"""Small images are asked for together: a request costs as much as reading one."""

_IN_MEMORY_BYTES = 512 << 20
"""A CT of 500 slices, which the model has in memory next anyway. All series that a
reader's callers have, the one that is read ahead among them, share it."""

_MOST_PROCESSES = 8
"""Beyond it the disk, and one thread that hands out work, are the limit."""


@dataclass(frozen=True, slots=True)
class _Image:
    """Frames of one instance: pairs of Frame Number and place in the output."""

    sop_instance_uid: str
    path: str
    frames: tuple[tuple[int, int], ...]

    @property
    def request(self) -> Answer:
        return {"path": self.path, "frames": self.frames}


class PixelReader:
    """Decodes series; a context manager, safe to share between threads.

    Parameters
    ----------
    limits : LimitSettings
        Time, memory and size that one instance may cost.
    processes : int, optional
        How many decode at once, as many as there are cores when absent; each starts
        when it is first needed, and again after it was lost.
    scratch_dir : pathlib.Path, optional
        On whose disk larger series lie while they are used, in files without a name;
        the system's temporary folder when absent.

    """

    def __init__(
        self,
        limits: LimitSettings,
        *,
        processes: int | None = None,
        scratch_dir: Path | None = None,
    ) -> None:
        self._limits = limits
        self._scratch_dir = scratch_dir
        self._children: SimpleQueue[ChildProcess] = SimpleQueue()
        self._lock = threading.Lock()
        self._readings: set[Reading] = set()
        self._room = PixelRoom(scratch_dir, most_bytes=_IN_MEMORY_BYTES)
        self._all = tuple(
            ChildProcess(
                _CHILD,
                (str(limits.decode_memory_mb << 20),),
                environment=_ENVIRONMENT,
            )
            for _ in range(
                processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
            )
        )
        for child in self._all:
            self._children.put(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running processes."""
        return tuple(child.pid for child in self._all if child.pid is not None)

    def start(self) -> None:
        """Start the processes, so that the first `read` does not wait for them."""
        for _ in self._all:
            try:
                child = self._children.get_nowait()
            except Empty:
                return  # whoever uses the others starts them
            try:
                child.start()
            finally:
                self._children.put(child)

    def close(self) -> None:
        """End the processes, and what is being read; a later `read` starts anew."""
        with self._lock:
            readings = list(self._readings)
        for one in readings:
            one.end()
        for child in self._all:
            child.stop()

    def read(self, series: ImageSeries, *, reading: Reading | None = None) -> Pixels:
        """Decode every frame of a series.

        Parameters
        ----------
        series : ImageSeries
            The frames and their size.
        reading : Reading, optional
            By which another thread ends it.

        Returns
        -------
        numpy.ndarray
            See `Pixels`; frames in the series' order. It is mapped from a file that
            has no name and vanishes with the array.

        Raises
        ------
        PixelDecodingError
            An instance cannot be decoded within the limits; the message says which
            and why.
        OutOfResourcesError
            It was ended, or the reader closed.
        OSError
            The scratch folder cannot be written.

        """
        shape: tuple[int, ...] = (series.rows, series.columns)
        dtype = np.dtype(np.uint8 if series.is_colour else np.float32)
        if series.is_colour:
            shape = (*shape, 3)
        frames = len(series.frames)
        frame_bytes = int(np.prod(shape)) * dtype.itemsize
        portions = list(_portions(series, frame_bytes, processes=len(self._all)))
        common = {
            "shape": shape,
            "itemsize": dtype.itemsize,
            "max_pixels_bytes": self._limits.max_pixels_bytes,
            # A radiograph is one frame: the other processes have nothing to do.
            "threads": max(1, len(self._all) // max(1, len(portions))),
        }
        size = frames * frame_bytes
        with self._known(reading) as known, self._room.open(size) as room:
            file = room.file
            pool = ThreadPoolExecutor(min(len(self._all), len(portions)))
            try:
                for done in [
                    pool.submit(self._read, images, common, known, output=file.fileno())
                    for images in portions
                ]:
                    done.result()
            finally:
                pool.shutdown(cancel_futures=True)
            # Copy on write: the caller may change the array and nothing else.
            pixels = np.memmap(file, dtype, mode="c", shape=(frames, *shape))
            room.keep_for(pixels.base)
            return pixels

    def read_stored(
        self, path: Path, *, sop_instance_uid: str, frame_number: int
    ) -> bytes:
        """Decode one frame to the values that it stores, little endian.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        sop_instance_uid : str
            Named when it cannot be decoded.
        frame_number : int
            From 1.

        Raises
        ------
        PixelDecodingError
            It cannot be decoded within the limits.
        OutOfResourcesError
            The reader was closed.
        OSError
            The scratch folder cannot be written.

        """
        with (
            self._known(None) as known,
            tempfile.TemporaryFile(dir=self._scratch_dir) as file,
        ):
            request: Answer = {
                "path": str(path),
                "stored": frame_number,
                "max_pixels_bytes": self._limits.max_pixels_bytes,
            }
            self._decode(sop_instance_uid, request, known, output=file.fileno())
            return file.read()

    @contextmanager
    def _known(self, reading: Reading | None) -> Iterator[Reading]:
        """Let `close` end what is being read."""
        known = reading or Reading()
        with self._lock:
            self._readings.add(known)
        try:
            yield known
        finally:
            with self._lock:
                self._readings.discard(known)

    def _read(
        self,
        images: Sequence[_Image],
        common: Answer,
        reading: Reading,
        *,
        output: int,
    ) -> None:
        """Decode some images; when they fail together, each is asked for alone.

        Its error then names it, and the limit of time is its own.
        """
        if len(images) > 1:
            child = self._children.get()
            try:
                with reading.using(child):
                    answer = child.ask(
                        {**common, "images": [one.request for one in images]},
                        timeout_s=self._limits.decode_timeout_s,
                        files=(output,),
                    )
            except ProcessLostError:
                answer = {"error": "", "kind": ""}
            finally:
                self._children.put(child)
            if "error" not in answer:
                return
        for one in images:
            request = {**common, "images": [one.request]}
            self._decode(one.sop_instance_uid, request, reading, output=output)

    def _decode(
        self, uid: str, request: Answer, reading: Reading, *, output: int
    ) -> None:
        child = self._children.get()
        try:
            with reading.using(child):
                answer = self._ask(child, request, reading, output)
        except ProcessLostError as error:
            why = "decoding it ends the decoder's process"
            if error.timed_out:
                why = f"it takes longer than {self._limits.decode_timeout_s:g} s"
            raise _not_decoded(uid, why, place=str(error)) from error
        finally:
            self._children.put(child)
        if answer.get("kind") == _NO_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "error" in answer:
            # Only the node's own errors, which have a kind, are written for readers.
            why = answer["error"] if answer["kind"] else _DAMAGED
            raise _not_decoded(uid, why, place=answer["error"])

    def _ask(
        self, child: ChildProcess, request: Answer, reading: Reading, output: int
    ) -> Answer:
        timeout_s = self._limits.decode_timeout_s
        try:
            return child.ask(request, timeout_s=timeout_s, files=(output,))
        except ProcessLostError as error:
            if error.timed_out or reading.is_ended:
                raise
            # Perhaps the process was lost to something else than this instance.
            return child.ask(request, timeout_s=timeout_s, files=(output,))


def _not_decoded(uid: str, why: str, *, place: str) -> PixelDecodingError:
    """Make an error whose message is for readers; the log learns the place, too."""
    _log.warning("pixels_not_decoded", sop_instance_uid=uid, reason=place)
    return PixelDecodingError(f"instance {uid} cannot be decoded: {why}", uid=uid)


def _portions(
    series: ImageSeries, frame_bytes: int, *, processes: int
) -> Iterator[list[_Image]]:
    """Yield the images that one request asks for, the last of them few.

    Else all processes but one would wait for the last large portion, which of JPEG
    2000 takes as long as all the rest of a small series.

    References
    ----------
    C. D. Polychronopoulos, D. J. Kuck, Guided self-scheduling, IEEE Transactions on
    Computers C-36(12), 1987.
    """
    left = len(series.frames)

    def share() -> int:
        return -(-left // (2 * processes))

    waiting: list[_Image] = []
    frames = 0
    most = max(1, _BYTES_PER_REQUEST // frame_bytes)
    for uid, members in _by_instance(series).items():
        start = 0
        while start < len(members):
            count = min(len(members) - start, _FRAMES_PER_REQUEST, share())
            if waiting and frames + count > min(most, share()):
                yield waiting
                left -= frames
                waiting, frames = [], 0
                continue
            portion = members[start : start + count]
            waiting.append(
                _Image(
                    uid,
                    str(members[0][1].path),
                    tuple((frame.frame_number, place) for place, frame in portion),
                )
            )
            start += count
            frames += count
    if waiting:
        yield waiting


def _by_instance(
    series: ImageSeries,
) -> Mapping[str, Sequence[tuple[int, FrameReference]]]:
    """Return the frames of each instance with their places in the series."""
    found: dict[str, list[tuple[int, FrameReference]]] = {}
    for place, frame in enumerate(series.frames):
        found.setdefault(frame.sop_instance_uid, []).append((place, frame))
    return found
