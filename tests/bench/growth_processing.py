"""What a study costs with its slices, its regions and its phrases."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.config import LimitSettings
from dicom_node.grounding.grounder import GroundedPrompt, ModelIdentity
from dicom_node.imaging import PixelReader
from dicom_node.pipeline import Rooms, process_study
from dicom_node.records import StudyReady
from tests.bench.report import Scale, Table, Tell
from tests.bench.usage import forget_peak, peak_mib
from tests.builders.dicom_series import make_ct_series

__all__ = ["Line", "Points", "fit", "processing_points", "processing_table"]

_REGIONS = tuple(f"nodule of segment {number}" for number in range(1, 51))
_SLICES_OF_A_REGION = 10


@dataclass(frozen=True, slots=True)
class Points:
    """What was measured along one axis: ``values`` of it, seconds and MiB of each."""

    axis: str
    values: tuple[int, ...]
    seconds: tuple[float, ...]
    mib: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """``seconds = fixed_s + each_s * value``, and what it leaves unexplained."""

    fixed_s: float
    each_s: float
    worst: float
    """Largest distance of a point from the line, as a share of the largest point."""


def fit(points: Points) -> Line:
    """Fit a straight line by least squares."""
    values, seconds = np.asarray(points.values, float), np.asarray(points.seconds)
    each, fixed = np.polyfit(values, seconds, 1)
    off = np.abs(fixed + each * values - seconds).max() / seconds.max()
    return Line(float(fixed), float(each), float(off))


class _Anything:
    """Finds each phrase in a block of its own, ten slices high; it costs next to
    nothing."""

    identity = ModelIdentity("anything", "1", "c0ffee")

    def ground(
        self,
        series: Any,
        pixels: Any,
        prompts: Sequence[str],
        *,
        progress: Any = None,
        with_probabilities: bool = False,
    ) -> tuple[GroundedPrompt, ...]:
        slices, rows, columns = np.shape(pixels)[:3]
        height = min(_SLICES_OF_A_REGION, slices)
        mask = np.ones((height, rows // 8, columns // 8), np.bool_)
        mask[:, 0, 0] = False  # no two ends of a row alike: it is no plain box
        return tuple(
            GroundedPrompt(
                prompt=prompt,
                score=0.9,
                is_present=True,
                uncertainty=0.2,
                mask=mask,
                mask_origin=(
                    (7 * number) % (slices - height + 1),
                    (rows // 8) * (number % 7),
                    (columns // 8) * (number // 7 % 7),
                ),
                boxes=(),
            )
            for number, prompt in enumerate(prompts)
        )


def processing_points(scale: Scale, work: Path, tell: Tell) -> tuple[Points, ...]:
    """Measure a study's processing without the model, and the model alone.

    Returns
    -------
    tuple of Points
        Against slices, against regions (both without the model's work), and the model
        against slices and against phrases.

    """
    is_full = scale is Scale.FULL
    side, repeats = (512, 3) if is_full else (64, 1)
    few = 50 if is_full else 4
    studies = {
        slices: _make_study(work / f"ct-{slices}", slices, side)
        for slices in ((50, 150, 300, 1000) if is_full else (4, 8))
    }
    with PixelReader(LimitSettings(), processes=1) as reader:
        rooms = Rooms(reader, _Anything())  # type: ignore[arg-type]

        def process(slices: int, regions: int) -> Callable[[], object]:
            return lambda: _process(studies[slices], rooms, regions, work / "out")

        process(few, 1)()  # what is imported and made ready the first time
        along = (
            _along("slices", {one: process(one, 5) for one in studies}, repeats, tell),
            _along(
                "regions",
                {
                    one: process(few, one)
                    for one in ((1, 5, 20, 50) if is_full else (1, 2))
                },
                repeats,
                tell,
            ),
        )
    return along + _model_points(tell, is_full=is_full, repeats=repeats)


def processing_table(points: Sequence[Points]) -> Table:
    """Return the lines through what was measured."""
    rows = []
    for one in points:
        line = fit(one)
        rows.append(
            (
                one.axis,
                ", ".join(map(str, one.values)),
                ", ".join(f"{seconds:.2f}" for seconds in one.seconds),
                f"{line.fixed_s:.2f} + {1000 * line.each_s:.1f} ms each",
                f"{100 * line.worst:.0f} %",
                ", ".join(f"{mib:.0f}" for mib in one.mib),
            )
        )
    return Table(
        "A study's time and memory against its size",
        ("against", "values", "seconds", "line", "off by at most", "peak MiB"),
        tuple(rows),
    )


def _model_points(tell: Tell, *, is_full: bool, repeats: int) -> tuple[Points, ...]:
    # Torch is loaded after what is measured without it.
    import torch

    from model import bundled_checkpoint
    from model.inference import GroundingModel
    from tests.bench.drawn import draw_ct
    from tests.bench.inference import CT_PHRASES

    threads = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if is_full else 1)
    try:
        model = GroundingModel.from_pretrained(bundled_checkpoint(), device="cpu")
        side = 512 if is_full else 64
        stacks = {
            slices: draw_ct(slices, slice_mm=1.0, side=side)
            for slices in ((20, 80, 300, 1000) if is_full else (4, 8))
        }
        many = tuple(f"{which} {one}" for which in ("left", "right") for one in _ORGANS)
        first = next(iter(stacks))

        def ask(slices: int, phrases: Sequence[str]) -> Callable[[], object]:
            return lambda: model.ground(stacks[slices], phrases)

        ask(first, CT_PHRASES)()
        return (
            _along(
                "slices (the model, 5 phrases)",
                {one: ask(one, CT_PHRASES) for one in stacks},
                repeats,
                tell,
            ),
            _along(
                f"phrases (the model, {first} slices)",
                {
                    one: ask(first, many[:one])
                    for one in ((1, 10, 20, 40) if is_full else (1, 2))
                },
                repeats,
                tell,
            ),
        )
    finally:
        torch.set_num_threads(threads)


_ORGANS = (
    *("kidney", "lung", "adrenal gland", "femur", "humerus", "scapula", "clavicle"),
    *("iliac artery", "iliac vein", "hip", "gluteus maximus", "gluteus medius"),
    *("iliopsoas", "rib", "atrium", "ventricle", "upper lobe", "lower lobe"),
    *("subclavian artery", "pleural effusion"),
)


def _along(
    axis: str, tasks: dict[int, Callable[[], object]], repeats: int, tell: Tell
) -> Points:
    seconds: dict[int, list[float]] = {value: [] for value in tasks}
    mib: dict[int, list[float]] = {value: [] for value in tasks}
    for repeat in range(repeats):
        for value in list(tasks)[:: 1 if repeat % 2 == 0 else -1]:
            forget_peak(os.getpid())
            began = time.perf_counter()
            tasks[value]()
            seconds[value].append(time.perf_counter() - began)
            mib[value].append(peak_mib(os.getpid()))
            tell(f"{axis} {value}: {seconds[value][-1]:.2f} s")
    return Points(
        axis,
        tuple(tasks),
        tuple(statistics.median(one) for one in seconds.values()),
        tuple(statistics.median(one) for one in mib.values()),
    )


def _make_study(folder: Path, slices: int, side: int) -> StudyReady:
    made = make_ct_series(
        folder,
        slices=slices,
        rows=side,
        columns=side,
        spacing_mm=(1.0, 0.7, 0.7),
        name=folder.name,
    )
    return StudyReady(
        study_instance_uid=made.study_instance_uid,
        content_version="5e" * 32,
        instances=made.instances,
    )


def _process(ready: StudyReady, rooms: Rooms, regions: int, out: Path) -> None:
    out.mkdir()
    try:
        done = process_study(
            ready, rooms=rooms, out_dir=out, phrases=_REGIONS[:regions]
        )
        assert done.objects
    finally:
        shutil.rmtree(out)
