"""How fast SEG objects are made, beside highdicom's constructor and the packing alone.

Each repeat of the node and of highdicom is a forked child process: it makes the object
once for the peak of its memory and once more for the clock. What the parent's heap had
free before counts as held, so that the extra memory told is the least it can be. The
files of both have held equal voxels before their time counts.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicom_node.objects import make_objects
from dicom_node.records import ImageSeries, PhraseResult, PhraseStatus, StudyResult
from tests.bench.interleave import Measured, interleave
from tests.bench.report import Case, Goal, Report, Scale, Tell
from tests.bench.usage import forget_peak, peak_mib, resident_mib
from tests.builders.dicom_series import make_ct_series
from tests.builders.study_results import (
    image_series,
    make_phrase,
    make_region,
    make_result,
)

__all__ = ["run"]

Labels = npt.NDArray[np.uint8]

_NODE = "the node: SEG and SR"
_HIGHDICOM = "highdicom Segmentation"
_BOUND = "numpy packing and write"
_MEMORY = "extra MiB"
_SIZE = "file MB"
_GOAL = 3.0
"""At most a third of highdicom's time, for ten segments and more."""


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Make binary SEGs of a CT series with more and more segments, in turn."""
    is_full = scale is Scale.FULL
    slices, size = (300, 512) if is_full else (6, 64)
    folder = work / "ct"
    folder.mkdir(parents=True)
    made = make_ct_series(folder, slices=slices, rows=size, columns=size)
    series = image_series(made.instances)
    cases = [
        _race(series, count, work, tell, repeats=3 if is_full else 1)
        for count in ((1, 10, 50) if is_full else (1, 3))
    ]
    return Report(
        cases=tuple(cases),
        notes=(
            "The node's time has its report (SR) in it, the reading of the source's "
            "headers and the hash of each file; highdicom's is the SEG alone, of "
            "headers that have been read. Memory is the peak of a child process over "
            "what it held before.",
        ),
        versions={"highdicom": hd.__version__, "pydicom": pydicom.__version__},
    )


def _race(
    series: ImageSeries, count: int, work: Path, tell: Tell, *, repeats: int
) -> Case:
    labels = _draw(len(series.frames), series.rows, count)
    result = _result(series, labels, count)
    headers = [dcmread(one.path, stop_before_pixels=True) for one in series.frames]
    out = work / f"out-{count}"
    out.mkdir()
    ways: dict[str, Callable[[], Path]] = {
        _NODE: partial(_by_node, result, out),
        _HIGHDICOM: partial(_by_highdicom, headers, labels, count, out),
    }
    for name, way in ways.items():
        _check(way(), labels, headers, name)
    bound = partial(_by_numpy, labels, count, out / "bits")
    return interleave(
        f"{len(headers)} x {series.rows} x {series.columns}, {count} segments, BINARY",
        {
            **{name: partial(_in_child, way) for name, way in ways.items()},
            _BOUND: bound,
        },
        base=_HIGHDICOM,
        repeats=repeats,
        tell=tell,
        goals=(Goal(_NODE, _HIGHDICOM, _GOAL),) if count >= 10 else (),
    )


def _draw(slices: int, size: int, count: int) -> Labels:
    """Draw ellipsoids that do not overlap, a fifth of the slices long."""
    generator = np.random.default_rng(3)
    labels = np.zeros((slices, size, size), np.uint8)
    y, x = np.mgrid[0:size, 0:size]
    for number in range(1, count + 1):
        middle = generator.uniform(0.2, 0.8, 3) * (slices, size, size)
        radius = generator.uniform(0.05, 0.11, 3) * (2 * slices, size, size)
        for z in range(slices):
            left = 1 - ((z - middle[0]) / max(radius[0], 1)) ** 2
            if left > 0:
                inside = ((y - middle[1]) / radius[1]) ** 2
                inside = inside + ((x - middle[2]) / radius[2]) ** 2
                labels[z][inside < left] = number
    # Each is seen, however many were drawn over it.
    for number in range(1, count + 1):
        labels[slices // 2, 0, number] = number
    return labels


def _result(series: ImageSeries, labels: Labels, count: int) -> StudyResult:
    phrases = [
        PhraseResult(
            phrase=make_phrase(f"region {number}"),
            status=PhraseStatus.PRESENT,
            regions=(make_region(series, labels == number, str(number)),),
            score=0.875,
            uncertainty=0.125,
        )
        for number in range(1, count + 1)
    ]
    return make_result([series], phrases)


def _by_node(result: StudyResult, out: Path) -> Path:
    return make_objects(result, out_dir=out)[0].path


def _by_highdicom(
    headers: Sequence[Dataset], labels: Labels, count: int, out: Path
) -> Path:
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
        for number in range(1, count + 1)
    ]
    ds = hd.seg.Segmentation(
        headers,
        labels,
        "BINARY",
        descriptions,
        generate_uid(),
        100,
        generate_uid(),
        1,
        "benchmark",
        "benchmark",
        "1",
        "1",
    )
    path = out / "highdicom.dcm"
    ds.save_as(path)
    return path


def _by_numpy(labels: Labels, count: int, path: Path) -> Measured:
    # Which segments a frame has is known to who drew them.
    present = [np.flatnonzero(np.bincount(f.ravel(), minlength=count)) for f in labels]
    began = time.perf_counter()
    with path.open("wb") as file:
        for frame, numbers in zip(labels, present, strict=True):
            for number in numbers[numbers > 0]:
                file.write(np.packbits(frame == number, bitorder="little").data)
    return time.perf_counter() - began, {_SIZE: path.stat().st_size / 1e6}


def _check(path: Path, labels: Labels, headers: Sequence[Dataset], name: str) -> None:
    """Compare a file's voxels by highdicom's own reader."""
    uids = [header.SOPInstanceUID for header in headers]
    found = hd.seg.segread(path).get_pixels_by_source_instance(
        uids, combine_segments=True, skip_overlap_checks=True
    )
    if not np.array_equal(found, labels):
        msg = f"{name}: other voxels than were drawn"
        raise AssertionError(msg)


def _in_child(way: Callable[[], Path]) -> Measured:
    receiving, sending = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_measure, args=(way, sending)
    )
    child.start()
    sending.close()
    try:
        seconds, extra = json.loads(receiving.recv_bytes())
    finally:
        child.join()
        receiving.close()
    return seconds, extra


def _measure(
    way: Callable[[], Path], sending: multiprocessing.connection.Connection
) -> None:
    held = resident_mib(os.getpid())
    forget_peak(os.getpid())
    path = way()
    extra = peak_mib(os.getpid()) - held
    began = time.perf_counter()
    path = way()
    seconds = time.perf_counter() - began
    facts = {_MEMORY: extra, _SIZE: path.stat().st_size / 1e6}
    sending.send_bytes(json.dumps([seconds, facts]).encode())
    sending.close()
