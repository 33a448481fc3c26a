"""How fast SEG objects are made, beside highdicom's constructor and the packing alone.

Both sides take the same regions and headers that have been read, and write a file.
The files of both have held equal voxels, read by pydicom, before their time counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import highdicom as hd
import pydicom
from pydicom import Dataset, dcmread

from conformance.judges import ask_dciodvfy, find_dciodvfy
from dicom_node.objects.common import Making
from dicom_node.objects.profiles import find_profile
from dicom_node.objects.sources import SourceHeaders, study_header
from dicom_node.objects.sr import make_report
from dicom_node.records import ImageSeries, ResultObject, StudyResult
from dicom_node.verify import verify_objects
from tests.bench.interleave import Measured, interleave
from tests.bench.object_ways import (
    BINARY,
    LABEL_MAP,
    Drawn,
    Kind,
    Way,
    check_voxels,
    draw,
    extra_mib,
    highdicom_way,
    node_way,
    pack_and_write,
    present_in,
)
from tests.bench.report import Case, Goal, Report, Scale, Table, Tell
from tests.builders.dicom_series import make_ct_series
from tests.builders.study_results import image_series, make_result

__all__ = ["run"]

_NODE = "the node"
_HIGHDICOM = "highdicom Segmentation"
_BOUND = "packing and writing the bits"
_SIZE = "file MB"
_ERRORS = "errors by dciodvfy"
_FASTER, _SMALLER = 3.0, 2.0
"""At most a third of highdicom's time, and half of its extra memory."""
_GROUPS = 20
"""Phrases of the report that is timed."""

_Extra = tuple[str, str, float, float, float, str]


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Make SEGs of a CT series with more and more segments, in turn."""
    is_full = scale is Scale.FULL
    slices, size = (300, 512) if is_full else (6, 64)
    repeats = 5 if is_full else 1
    series = _make_series(work / "ct", slices, size)
    small = draw(_make_series(work / "small", 3, 32), 2)
    cases: list[Case] = []
    extras: list[_Extra] = []
    races = [(BINARY, count) for count in ((1, 10, 50) if is_full else (3,))]
    for kind, count in [*races, (LABEL_MAP, races[-1][1])]:
        drawn = draw(series, count)
        title = f"{slices} x {size} x {size}, {count} segments, {kind.title}"
        is_goal = kind is BINARY and count >= 10
        cases.append(
            _race(title, drawn, kind, work, tell, repeats=repeats, is_goal=is_goal)
        )
        if is_full or kind is BINARY:
            extras.append(_memory(title, drawn, small, kind, work, is_full=is_full))
            tell(f"{title}: {extras[-1][1:4]} MiB")
    groups = _GROUPS if is_full else 2
    cases.append(_rest(draw(series, groups), groups, work, tell, repeats=repeats))
    return Report(
        cases=tuple(cases),
        tables=(
            Table(
                "Peak of a new process over what it held, MiB (medians)",
                ("SEG", "n", "the node", "highdicom", "highdicom / node", "asked: 2"),
                tuple(extras),
            ),
        ),
        notes=(
            "Time is from masks in memory and headers that have been read to a file "
            "on disk that is not synced; the node's has the SHA-256 of the file in it. "
            "highdicom is given one array of region numbers, the shortest form that it "
            "takes; the node its own cropped masks.",
            "Memory is told for processes that are spawned, not forked, and that have "
            "made a small SEG before.",
            "Of a label map by RLE most of the node's time is the encoder's, that of "
            "pydicom's plugins, as highdicom's is: no goal is set for it.",
            "The bound finds no region, has no headers and packs whole frames.",
        ),
        versions={"highdicom": hd.__version__, "pydicom": pydicom.__version__},
    )


def _make_series(folder: Path, slices: int, size: int) -> ImageSeries:
    folder.mkdir(parents=True)
    made = make_ct_series(folder, slices=slices, rows=size, columns=size)
    return image_series(made.instances)


def _race(
    title: str,
    drawn: Drawn,
    kind: Kind,
    work: Path,
    tell: Tell,
    *,
    repeats: int,
    is_goal: bool,
) -> Case:
    contenders: dict[str, Callable[[], Measured]] = {}
    for number, (name, way) in enumerate(_ways(drawn, kind).items()):
        path = work / f"seg-{number}.dcm"
        way(path)  # what is made ready the first time
        check_voxels(path, drawn)
        contenders[name] = partial(_timed, way, path, _judge(path))
    if kind is BINARY:
        bound = partial(pack_and_write, drawn.labels, present_in(drawn.labels))
        contenders[_BOUND] = partial(_timed, bound, work / "bits", {})
    return interleave(
        title,
        contenders,
        base=_HIGHDICOM,
        repeats=repeats,
        tell=tell,
        goals=(Goal(_NODE, _HIGHDICOM, _FASTER),) if is_goal else (),
    )


def _ways(drawn: Drawn, kind: Kind) -> dict[str, Way]:
    """Return both sides with all that they need, read and ready."""
    result, headers, source = _ready(drawn)
    read = [dcmread(one.path, stop_before_pixels=True) for one in drawn.series.frames]
    return {
        _NODE: partial(node_way, result, kind, headers, source),
        _HIGHDICOM: partial(highdicom_way, read, drawn.labels, kind),
    }


def _ready(drawn: Drawn) -> tuple[StudyResult, SourceHeaders, Dataset]:
    result = make_result([drawn.series], drawn.phrases)
    headers = SourceHeaders()
    for frame in drawn.series.frames:
        headers.geometry(frame.path)
    return result, headers, study_header(result)


def _timed(way: Way, path: Path, facts: Mapping[str, float]) -> Measured:
    path.unlink(missing_ok=True)
    began = time.perf_counter()
    way(path)
    seconds = time.perf_counter() - began
    return seconds, {_SIZE: path.stat().st_size / 1e6, **facts}


def _judge(path: Path) -> dict[str, float]:
    program = find_dciodvfy()
    if program is None:
        return {}
    return {_ERRORS: sum(1 for _ in ask_dciodvfy(program, path, dcmread(path)))}


def _memory(
    title: str, drawn: Drawn, small: Drawn, kind: Kind, work: Path, *, is_full: bool
) -> _Extra:
    ways, first = _ways(drawn, kind), _ways(small, kind)
    found: dict[str, list[float]] = {name: [] for name in ways}
    repeats = 3 if is_full else 1
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(extra_mib(way, first[name], work))
    node, peer = (statistics.median(of) for of in found.values())
    ratio = peer / max(node, 0.1)
    verdict = "ok" if ratio >= _SMALLER else "**falls short**"
    return title, str(repeats), node, peer, ratio, verdict


def _rest(drawn: Drawn, groups: int, work: Path, tell: Tell, *, repeats: int) -> Case:
    """Time what else a result costs, beside its SEG and the bound."""
    result, headers, source = _ready(drawn)
    making = Making(result, find_profile(BINARY.profile), source)
    seg, report = work / "seg.dcm", work / "sr.dcm"
    made = node_way(result, BINARY, headers, source, seg)

    def write_report(path: Path) -> ResultObject:
        return making.write(make_report(making, made), path, {})

    objects: Sequence[ResultObject] = (*made, write_report(report))

    def verify(_: Path) -> None:
        verify_objects(objects, result.series)

    def again(path: Path) -> None:
        node_way(result, BINARY, headers, source, path)

    ways: dict[str, Way] = {
        _BOUND: partial(pack_and_write, drawn.labels, present_in(drawn.labels)),
        "the SEG": again,
        f"the SR of {groups} groups of links": write_report,
        "verify_objects of both": verify,
    }
    folder = work / "rest"
    folder.mkdir()
    verify(seg)

    def of(way: Way, name: str) -> Callable[[], Measured]:
        def measure() -> Measured:
            began = time.perf_counter()
            way(folder / name)
            return time.perf_counter() - began, {}

        return measure

    return interleave(
        f"What a result costs: {len(drawn.series.frames)} x {drawn.series.rows} x "
        f"{drawn.series.columns}, {groups} segments, BINARY",
        {name: of(way, str(number)) for number, (name, way) in enumerate(ways.items())},
        base=_BOUND,
        repeats=repeats,
        tell=tell,
    )
