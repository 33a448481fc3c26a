"""Decode the next series while the model works on this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from dicom_node.imaging.pixels import Pixels
from dicom_node.imaging.reading import Reading
from dicom_node.records import ImageSeries

__all__ = ["ReadAhead", "read_ahead"]


_LEAVE_S = 0.5
"""How long what is being decoded may take when nobody asks for it any more: ending a
process and starting another costs about as much."""


class _Reader(Protocol):
    def read(
        self, series: ImageSeries, *, reading: Reading | None = None
    ) -> Pixels: ...


class ReadAhead:
    """Series that are read in their order, one of them ahead; see `read_ahead`."""

    def __init__(
        self,
        series: Sequence[ImageSeries],
        reader: _Reader,
        pool: ThreadPoolExecutor,
        reading: Reading,
    ) -> None:
        self._series = tuple(series)
        self._reader = reader
        self._pool = pool
        self._reading = reading
        self._ahead: tuple[int, Future[Pixels]] | None = None

    def read(self, series: ImageSeries) -> Pixels:
        """Decode a series, or wait for it, and begin with the one behind it.

        Raises
        ------
        PixelDecodingError, OutOfResourcesError, OSError
            As `PixelReader.read`: of this series, never of the one behind it.

        """
        place = self._series.index(series)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == place:
            try:
                pixels = ahead[1].result()
            except (OSError, MemoryError):
                # There was no room beside the series before it, which is gone now.
                pixels = self._reader.read(series)
        else:
            pixels = self._reader.read(series)
        if place + 1 < len(self._series):
            # One at most: the scratch disk holds two series at once and no more.
            future = self._pool.submit(
                self._reader.read, self._series[place + 1], reading=self._reading
            )
            self._ahead = (place + 1, future)
        return pixels


@contextmanager
def read_ahead(series: Sequence[ImageSeries], reader: _Reader) -> Iterator[ReadAhead]:
    """Read series of a study one ahead of who asks for them, while the block lasts.

    Parameters
    ----------
    series : sequence of ImageSeries
        In the order in which they will be asked for.
    reader : PixelReader
        Who decodes; it serves several threads.

    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    reading = Reading()
    try:
        yield ReadAhead(series, reader, pool, reading)
    finally:
        # What is read ahead when the block is left early is for nobody.
        pool.shutdown(wait=False, cancel_futures=True)
        reading.end(grace_s=_LEAVE_S)
        pool.shutdown()
