"""The segments of written SEG objects, the last ones kept for the page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from dicom_node.corrections.segments import SegmentFrame, read_segments
from dicom_node.errors import ObjectError

__all__ = ["SegmentReader"]

_KEPT = 16
"""Objects in memory; their runs take a few kilobytes each."""


class SegmentReader:
    """Reads segmentations and keeps the last ones; safe to share between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, dict[int, list[SegmentFrame]]] = OrderedDict()
        self._lock = threading.Lock()

    def frames(self, path: Path, segment_number: int) -> list[SegmentFrame]:
        """Return the frames of one segment.

        Raises
        ------
        ObjectError
            The file cannot be read, or has no such segment.

        """
        with self._lock:
            known = self._kept.get(path)
            if known is None:
                known = self._kept[path] = read_segments(path)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(path)
        if segment_number not in known:
            raise ObjectError("the segmentation has no such segment")
        return known[segment_number]
