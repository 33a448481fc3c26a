"""Outlines as runs, and whether a correction fits what it corrects.

A run is a start and a length in a frame's pixels, row by row; the runs of a mask are
in order and never touch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.errors import CorrectionError
from dicom_node.store.corrections import CorrectionAction, RedrawnFrame

__all__ = ["check_frames", "mask_of_runs", "runs_of_mask"]


def runs_of_mask(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return the set pixels of a mask of one frame as runs.

    Parameters
    ----------
    mask : numpy.ndarray
        Shape ``(rows, columns)``.

    Returns
    -------
    list of int
        Start, length, start, length ...

    """
    flat = np.concatenate(([False], mask.ravel(), [False]))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = changes[0::2], changes[1::2]
    runs: list[int] = np.stack((starts, ends - starts), axis=1).ravel().tolist()
    return runs


def mask_of_runs(
    runs: Sequence[int], *, rows: int, columns: int
) -> npt.NDArray[np.bool_]:
    """Return the mask of shape ``(rows, columns)`` that runs describe.

    Raises
    ------
    CorrectionError
        They are out of order, touch each other or leave the frame.

    """
    size = rows * columns
    if len(runs) % 2:
        raise CorrectionError("runs are pairs of a start and a length")
    mask = np.zeros(size, np.bool_)
    end = -1
    for start, length in zip(runs[0::2], runs[1::2], strict=True):
        if start <= end or length < 1 or start + length > size:
            msg = f"a run from {start} over {length} pixels does not fit"
            raise CorrectionError(msg)
        end = start + length
        mask[start:end] = True
    return mask.reshape(rows, columns)


def check_frames(
    action: CorrectionAction,
    frames: Sequence[RedrawnFrame],
    *,
    series: Mapping[str, Any],
) -> None:
    """Check that a correction fits the series of its region.

    Parameters
    ----------
    action : CorrectionAction
        Only what is redrawn has frames.
    frames : sequence of RedrawnFrame
        The new outline, frame by frame.
    series : mapping
        As ``result.json`` describes it.

    Raises
    ------
    CorrectionError
        It does not; the message says where.

    """
    if action is not CorrectionAction.REDRAW:
        if frames:
            raise CorrectionError("only what is redrawn has frames")
        return
    count = len(series["frames"])
    seen: set[int] = set()
    pixels = 0
    for one in frames:
        if not 0 <= one.frame < count or one.frame in seen:
            msg = f"frame {one.frame}: the series has {count} frames, each once"
            raise CorrectionError(msg)
        seen.add(one.frame)
        mask = mask_of_runs(one.runs, rows=series["rows"], columns=series["columns"])
        pixels += int(np.count_nonzero(mask))
    if not pixels:
        raise CorrectionError("nothing is drawn; reject the region instead")
