"""The ways to a SEG that are compared: the node's, highdicom's, and the bits alone."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import multiprocessing.connection
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.pixels import iter_pixels
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from dicom_node.objects.common import Making
from dicom_node.objects.profiles import find_profile
from dicom_node.objects.seg import make_segmentations
from dicom_node.objects.sources import SourceHeaders
from dicom_node.records import (
    ImageSeries,
    PhraseResult,
    PhraseStatus,
    ResultObject,
    StudyResult,
)
from tests.bench.usage import forget_peak, peak_mib, resident_mib
from tests.builders.study_results import make_phrase, make_region

__all__ = [
    "BINARY",
    "LABEL_MAP",
    "Drawn",
    "Kind",
    "Way",
    "check_voxels",
    "draw",
    "extra_mib",
    "highdicom_way",
    "node_way",
    "pack_and_write",
    "present_in",
]

Labels: TypeAlias = npt.NDArray[np.uint8]
Way: TypeAlias = Callable[[Path], object]
"""Makes the object and writes it to that file."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How the SEG of both sides is encoded."""

    segmentation_type: str
    transfer_syntax_uid: str
    profile: str
    """The node's profile that encodes so."""

    @property
    def title(self) -> str:
        """What it is called on the page."""
        is_plain = self.transfer_syntax_uid == ExplicitVRLittleEndian
        return self.segmentation_type + ("" if is_plain else ", RLE Lossless")


BINARY = Kind("BINARY", ExplicitVRLittleEndian, "default")
"""One bit a pixel, a frame for each region on each frame of the source."""
LABEL_MAP = Kind("LABELMAP", RLELossless, "labelmap")
"""One byte a pixel, all regions on a frame."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The same regions as each side takes them.

    Attributes
    ----------
    series : ImageSeries
        Where they lie.
    labels : numpy.ndarray
        Number of the region of each voxel, shape ``(slices, rows, columns)``:
        highdicom's, the shortest form that it takes.
    phrases : tuple of PhraseResult
        The node's: a phrase for each region, its mask cropped.

    """

    series: ImageSeries
    labels: Labels
    phrases: tuple[PhraseResult, ...]


def draw(series: ImageSeries, count: int) -> Drawn:
    """Draw ellipsoids that do not overlap, each some fifth of the slices high."""
    shape = (len(series.frames), series.rows, series.columns)
    labels = np.zeros(shape, np.uint8)
    generator = np.random.default_rng(3)
    for number in range(1, count + 1):
        is_drawn = False
        while not is_drawn:  # what lies wholly in another is drawn elsewhere
            middle = generator.uniform(0.2, 0.8, 3) * shape
            radius = generator.uniform((0.085, 0.03, 0.03), 0.117, 3) * shape
            low = np.maximum(np.floor(middle - radius), 0).astype(int)
            high = np.minimum(np.ceil(middle + radius) + 1, shape).astype(int)
            window = labels[tuple(map(slice, low, high))]
            axes = np.ogrid[tuple(map(slice, low, high))]
            parts = zip(axes, middle, radius, strict=True)
            far = sum(((axis - at) / wide) ** 2 for axis, at, wide in parts)
            inside = (far < 1) & (window == 0)
            window[inside] = number
            is_drawn = bool(inside.any())
    phrases = []
    for number in range(1, count + 1):
        region = make_region(series, labels == number, str(number))
        # Copied: a part of the whole array would keep all of it.
        region = replace(region, mask=region.mask.copy(), probability=None)
        phrase = make_phrase(f"region {number}")
        found = PhraseResult(phrase, PhraseStatus.PRESENT, (region,), 0.875, 0.125)
        phrases.append(found)
    return Drawn(series, labels, tuple(phrases))


def node_way(
    result: StudyResult,
    kind: Kind,
    headers: SourceHeaders,
    source: Dataset,
    path: Path,
) -> tuple[ResultObject, ...]:
    """Make the SEG of a result as the node does, of headers that have been read."""
    making = Making(result, find_profile(kind.profile), source)
    return tuple(
        making.write(made.dataset, path, made.segments, frames=made.frames)
        for made in make_segmentations(making, headers)
    )


def highdicom_way(
    headers: Sequence[Dataset], labels: Labels, kind: Kind, path: Path
) -> None:
    """Make the SEG by highdicom's constructor, of headers that have been read."""
    algorithm = hd.AlgorithmIdentificationSequence(
        "benchmark", codes.DCM.ArtificialIntelligence, "1"
    )
    descriptions = [
        hd.seg.SegmentDescription(
            number,
            f"region {number}",
            codes.SCT.AnatomicalStructure,
            codes.SCT.Kidney,
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for number in range(1, int(labels.max()) + 1)
    ]
    ds = hd.seg.Segmentation(
        headers,
        labels,
        kind.segmentation_type,
        descriptions,
        generate_uid(),
        100,
        generate_uid(),
        1,
        "benchmark",
        "benchmark",
        "1",
        "1",
        transfer_syntax_uid=kind.transfer_syntax_uid,
    )
    ds.save_as(path)


def pack_and_write(
    labels: Labels, present: Sequence[Sequence[int]], path: Path
) -> None:
    """Pack the bits of each frame of each region and write them: the bound."""
    # Which regions a frame has is known to who drew them.
    with path.open("wb") as file:
        for frame, numbers in zip(labels, present, strict=True):
            for number in numbers:
                file.write(np.packbits(frame == number, bitorder="little").data)


def present_in(labels: Labels) -> list[list[int]]:
    """Return the regions of each frame."""
    return [[one for one in np.unique(frame).tolist() if one] for frame in labels]


def check_voxels(path: Path, drawn: Drawn) -> int:
    """Compare a SEG's voxels with what was drawn, read by pydicom alone.

    Returns
    -------
    int
        How many frames it has.

    Raises
    ------
    AssertionError
        It holds other voxels, or not all of them.

    """
    ds = dcmread(path)
    places = {
        frame.sop_instance_uid: index for index, frame in enumerate(drawn.series.frames)
    }
    left = {
        (index, number)
        for index, numbers in enumerate(present_in(drawn.labels))
        for number in numbers
    }
    shared = ds.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
    frames = zip(ds.PerFrameFunctionalGroupsSequence, iter_pixels(ds), strict=True)
    for group, pixels in frames:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = places[source.ReferencedSOPInstanceUID]
        labels = drawn.labels[index]
        if ds.SegmentationType == "LABELMAP":
            assert np.array_equal(pixels, labels), path
            left -= {(index, number) for number in np.unique(labels).tolist()}
        else:
            # Of a SEG of one segment highdicom says it once for all frames.
            items = group.get("SegmentIdentificationSequence") or shared
            item = items[0]
            number = int(item.ReferencedSegmentNumber)
            assert np.array_equal(pixels, labels == number), path
            left.discard((index, number))
    assert not left, path
    return int(ds.NumberOfFrames)


def extra_mib(way: Way, first: Way, folder: Path) -> float:
    """Return by how much the memory of a new process grows at most, in MiB.

    Parameters
    ----------
    way : callable
        What is measured, with all that it needs: it is sent to the process.
    first : callable
        The same of something small: what is imported and read the first time.
    folder : pathlib.Path
        Where the process writes.

    """
    sent = folder / "ways.pickle"
    with sent.open("wb") as file:
        pickle.dump((first, way), file, protocol=pickle.HIGHEST_PROTOCOL)
    # Not forked: it would hold what this process has, and write to free parts of it.
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(sent, folder / "extra.dcm", sending))
    child.start()
    sending.close()
    try:
        return float(receiving.recv())
    finally:
        child.join()
        receiving.close()
        sent.unlink()


def _measure(
    sent: Path, out: Path, sending: multiprocessing.connection.Connection
) -> None:
    with sent.open("rb") as file:
        first, way = pickle.load(file)
    first(out)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the heap has free would not be seen to grow
    held = resident_mib(os.getpid())
    forget_peak(os.getpid())
    way(out)
    sending.send(peak_mib(os.getpid()) - held)
    sending.close()
