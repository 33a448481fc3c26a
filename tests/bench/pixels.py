"""How fast files become one array of pixels, beside other readers of series.

The node decodes in child processes with limits and hands over modality values in
single precision; the peers decode in the caller's own process. Before the clock starts,
all contenders have given equal voxels.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk  # noqa: N813 - its documentation's own short form
from pydicom import dcmread
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from dicom_node.config import LimitSettings
from dicom_node.imaging import PixelReader, find_series
from dicom_node.imaging.decode import check_pixels, decode_frames
from tests.bench.interleave import interleave, timed
from tests.bench.pixel_files import CODECS, INTERCEPT, Files, make_files
from tests.bench.report import Case, Goal, Report, Scale, Tell

__all__ = ["run"]

Voxels = npt.NDArray[Any]
_Reader = Callable[[], Voxels]

_NODE = "the node"
_NUMPY = "pydicom headers + numpy"
_PYDICOM = "pydicom pixel_array"
_SITK = "SimpleITK"
_HIGHDICOM = "highdicom get_volume_from_series"

_PAGE = 4096
_LIMIT = 1 << 30
_COMPRESSED = 100
_SLOW = {JPEG2000Lossless: 40}
"""Slices of a compressed series; all 300 would take minutes."""

_FRAMES = 12
"""Frames of a codec that are decoded one after the other in each run."""


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Read raw and compressed series, and decode single frames, all in turn."""
    is_full = scale is Scale.FULL
    count, size = (300, 512) if is_full else (6, 64)
    cases: list[Case] = []
    with PixelReader(LimitSettings(), scratch_dir=work) as reader:
        files = make_files(work / "raw", ExplicitVRLittleEndian, count=count, size=size)
        _level(reader, files)
        repeats = 5 if is_full else 1
        cases.append(_known_files(files, reader, tell, repeats))
        cases.append(_unsorted_files(files, reader, tell, repeats))
        for syntax in CODECS:
            name = _name(syntax)
            slices = min(count, _SLOW.get(syntax, _COMPRESSED))
            files = make_files(work / name, syntax, count=slices, size=size)
            cases.append(_frames(files, syntax, tell, 5 if is_full else 1))
            title = f"{slices} slices of {name} to one array"
            repeats = 3 if is_full else 1
            cases.append(_compressed(title, files, syntax, reader, tell, repeats))
        side = 2048 if is_full else 64
        for syntax in (JPEGLSLossless, JPEG2000Lossless):
            name = _name(syntax)
            files = make_files(work / f"one-{name}", syntax, count=1, size=side)
            title = f"a radiograph of {side} x {side}, {name}"
            repeats = 7 if is_full else 1
            cases.append(_compressed(title, files, syntax, reader, tell, repeats))
    return Report(
        cases=tuple(cases),
        notes=(
            "The node's values are Hounsfield units in single precision, decoded in "
            "child processes; numpy's and pydicom's are the stored 16 bits. A reader's "
            "time ends when each page of its array has been touched.",
            "Here all have one priority; in service decoders give way to reception.",
            "SimpleITK has no decoder for HTJ2K. Deflated data sets are refused by the "
            "node before they could be read.",
        ),
        versions={
            "pydicom": pydicom.__version__,
            "SimpleITK": sitk.Version.VersionString(),
            "highdicom": highdicom.__version__,
        },
    )


def _level(reader: PixelReader, files: Files) -> None:
    """Give the decoders the peers' priority: on a busy machine it would be measured.

    Where the system refuses, the node's figures are the worse for it.
    """
    (series,), _ = find_series(files.instances)
    reader.start()
    reader.read(series)
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        for pid in reader.pids:
            os.setpriority(os.PRIO_PROCESS, pid, mine)
            # Their sessions have a weight of their own (sched(7), autogroup).
            Path(f"/proc/{pid}/autogroup").write_text(str(mine), encoding="ascii")


def _known_files(files: Files, reader: PixelReader, tell: Tell, repeats: int) -> Case:
    (series,), _ = find_series(files.instances)
    return _race(
        f"{len(files.paths)} raw slices, known and in order, to one array",
        {
            _NODE: lambda: reader.read(series),
            _NUMPY: lambda: _by_numpy(files.paths),
            _PYDICOM: lambda: _by_pydicom(files.paths),
            _SITK: lambda: _by_sitk(files.paths),
        },
        files,
        base=_NUMPY,
        repeats=repeats,
        tell=tell,
        goals=(Goal(_NODE, _NUMPY, 1.0), Goal(_NODE, _SITK, 1.0)),
    )


def _unsorted_files(
    files: Files, reader: PixelReader, tell: Tell, repeats: int
) -> Case:
    folder = str(Path(files.paths[0]).parent)
    shuffled = np.random.default_rng(0).permutation(len(files.paths))
    instances = [files.instances[index] for index in shuffled]
    paths = [files.paths[index] for index in shuffled]

    def by_node() -> Voxels:
        (series,), _ = find_series(instances)
        return reader.read(series)

    def by_sitk() -> Voxels:
        return _by_sitk(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder))

    def by_highdicom() -> Voxels:
        volume = highdicom.get_volume_from_series([dcmread(path) for path in paths])
        # Its slices run against the normal of their rows and columns.
        return np.asarray(volume.array)[::-1]

    return _race(
        f"{len(paths)} raw slices in any order, to a sorted volume with its geometry",
        {_NODE: by_node, _SITK: by_sitk, _HIGHDICOM: by_highdicom},
        files,
        base=_SITK,
        repeats=repeats,
        tell=tell,
        goals=(Goal(_NODE, _SITK, 1.0), Goal(_NODE, _HIGHDICOM, 1.0)),
    )


def _compressed(
    title: str,
    files: Files,
    syntax: UID,
    reader: PixelReader,
    tell: Tell,
    repeats: int,
) -> Case:
    (series,), _ = find_series(files.instances)
    readers: dict[str, _Reader] = {_NODE: lambda: reader.read(series)}
    if syntax == HTJ2KLossless:
        peer = _PYDICOM
        readers[peer] = lambda: _by_pydicom(files.paths)
    else:
        peer = _SITK
        readers[peer] = lambda: _by_sitk(files.paths)
    return _race(
        title,
        readers,
        files,
        base=peer,
        repeats=repeats,
        tell=tell,
        goals=(Goal(_NODE, peer, 1.0),),
        within=_loss(syntax),
    )


def _frames(files: Files, syntax: UID, tell: Tell, repeats: int) -> Case:
    """Decode in this process: what the codec costs, by each decoder at hand."""
    data_sets = [dcmread(path) for path in files.paths[:_FRAMES]]
    decoder = get_decoder(syntax)

    def by_node() -> Voxels:
        frames = []
        for ds in data_sets:
            check_pixels(ds, max_pixels_bytes=_LIMIT)
            frames += decode_frames(ds, [1])
        return np.stack(frames)

    def by_plugin(plugin: str) -> _Reader:
        def read() -> Voxels:
            return np.stack(
                [
                    decoder.as_array(ds, index=0, decoding_plugin=plugin)[0]
                    for ds in data_sets
                ]
            )

        return read

    readers = {f"{one} alone": by_plugin(one) for one in decoder.available_plugins}
    return _race(
        f"{len(data_sets)} frames of {_name(syntax)}, one after the other in one "
        "process",
        {_NODE: by_node, **readers},
        files,
        base=_NODE,
        repeats=repeats,
        tell=tell,
        within=_loss(syntax),
    )


def _race(
    title: str,
    readers: Mapping[str, _Reader],
    files: Files,
    *,
    base: str,
    repeats: int,
    tell: Tell,
    goals: tuple[Goal, ...] = (),
    within: float = 0,
) -> Case:
    for name, read in readers.items():
        _assert_equal(read(), files, name=f"{title}: {name}", within=within)
    contenders = {name: timed(_touching(read)) for name, read in readers.items()}
    return interleave(
        title, contenders, base=base, repeats=repeats, tell=tell, goals=goals
    )


def _touching(read: _Reader) -> _Reader:
    """Let a reader's time end when its array is in memory, also where it is mapped."""

    def run() -> Voxels:
        voxels = read()
        voxels.reshape(-1).view(np.uint8)[::_PAGE].sum()
        return voxels

    return run


def _assert_equal(found: Voxels, files: Files, *, name: str, within: float) -> None:
    """Compare with the truth; unsigned integers are the stored values."""
    expected = files.stored[: len(found)].astype(np.float32)
    if found.dtype.kind != "u":
        expected += INTERCEPT
    if found.shape != expected.shape or np.abs(found - expected).max() > within:
        msg = f"{name} finds other voxels"
        raise AssertionError(msg)


def _by_numpy(paths: list[str]) -> Voxels:
    return np.stack(
        [
            np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
            for ds in map(dcmread, paths)
        ]
    )


def _by_pydicom(paths: list[str]) -> Voxels:
    return np.stack([dcmread(path).pixel_array for path in paths])


def _by_sitk(paths: list[str] | tuple[str, ...]) -> Voxels:
    return sitk.GetArrayFromImage(sitk.ReadImage(list(paths)))


def _loss(syntax: UID) -> float:
    """Return how far a lossy codec may be off the truth, at the noise of a CT."""
    return 24 if syntax == JPEGBaseline8Bit else 0


def _name(syntax: UID) -> str:
    return syntax.keyword
