"""Regions read back from the written SEG objects, as runs of set pixels."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pydicom

from dicom_node.corrections.runs import runs_of_mask
from dicom_node.errors import ObjectError
from dicom_node.objects.segment_frames import frames_of, masks_of

__all__ = ["SegmentFrame", "read_segments"]


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """A segment on one frame of the source."""

    sop_instance_uid: str
    frame_number: int
    """From 1."""
    runs: tuple[int, ...]


def read_segments(path: Path) -> dict[int, list[SegmentFrame]]:
    """Return the frames of every segment of a SEG, by segment number.

    Parameters
    ----------
    path : pathlib.Path
        A SEG of type BINARY or LABELMAP that this node wrote.

    Raises
    ------
    ObjectError
        It cannot be read.

    References
    ----------
    PS3.3 C.8.20.2, C.7.6.16.2.6

    """
    try:
        ds = pydicom.dcmread(path)
        found: defaultdict[int, list[SegmentFrame]] = defaultdict(list)
        for item in ds.SegmentSequence:
            found[int(item.SegmentNumber)] = []
        groups = ds.PerFrameFunctionalGroupsSequence
        for group, pixels in zip(groups, frames_of(ds), strict=True):
            source = group.DerivationImageSequence[0].SourceImageSequence[0]
            place = (
                str(source.ReferencedSOPInstanceUID),
                int(source.get("ReferencedFrameNumber", 1)),
            )
            for number, mask in masks_of(ds, group, pixels):
                found[number].append(SegmentFrame(*place, tuple(runs_of_mask(mask))))
    except (OSError, ValueError, AttributeError, KeyError, IndexError) as error:
        msg = "the segmentation cannot be read"
        raise ObjectError(msg) from error
    return dict(found)
