"""How fast the model answers: images a second and milliseconds a study, beside stock.

The contender is the shipped checkpoint: in this process, and as the node runs it, in
its worker process with the pixels handed over by a file. The peer is `stock_model`. A
stock model that saw all slices of a CT would take minutes: it sees some, and its time
is multiplied, which the contender's name says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from dicom_node.config import ModelSettings
from dicom_node.grounding.worker import GroundingWorker
from model import bundled_checkpoint
from model.features import see_stack
from model.inference import GroundingModel
from model.records import ImageStack
from tests.bench.drawn import draw_ct, draw_radiograph, series_of
from tests.bench.inference_tables import (
    arithmetic_table,
    limit_table,
    parity_table,
    stage_table,
)
from tests.bench.interleave import Measured, interleave
from tests.bench.report import Case, Goal, Report, Scale, Table, Tell
from tests.bench.stock_model import StockModel, show
from tests.bench.usage import cpu_seconds

__all__ = ["CT_PHRASES", "run"]

CT_PHRASES = ("liver", "spleen", "abdominal aorta", "vertebrae", "pleural effusion")
_CR_PHRASES = ("lungs", "heart", "pneumothorax", "vertebrae", "pleural effusion")

_GOALS = {"cpu": 4.0, "cuda": 8.0}
"""How many times as fast as stock the model shall be."""


@dataclass(frozen=True)
class _Size:
    """What a scale measures."""

    radiograph: tuple[int, int]
    slices: int
    many: int
    side: int
    stock_pictures: int
    repeats: int


_SIZES = {
    Scale.QUICK: _Size((500, 410), 6, 0, 128, 1, 1),
    Scale.FULL: _Size((2500, 2048), 300, 1000, 512, 2, 3),
}


def run(scale: Scale, work: Path, tell: Tell) -> Report:
    """Measure the model on each device that there is."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    threads = torch.get_num_threads()
    # As the worker does; in a short form beside others, threads would only wait.
    cores = len(os.sched_getaffinity(0)) if scale is Scale.FULL else 1
    torch.set_num_threads(cores)
    try:
        reports = [_measure(device, _SIZES[scale], work, tell) for device in devices]
    finally:
        torch.set_num_threads(threads)
    return Report(
        cases=tuple(case for one in reports for case in one.cases),
        tables=tuple(table for one in reports for table in one.tables),
        notes=_notes(devices),
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
    )


def _measure(device: str, size: _Size, work: Path, tell: Tell) -> Report:
    model = GroundingModel.from_pretrained(bundled_checkpoint(), device=device)
    stock = StockModel(config=model.network.config, device=device)
    is_whole = size.many > 0
    radiograph = draw_radiograph(*size.radiograph)
    ct = draw_ct(size.slices, slice_mm=1.0, side=size.side)
    cases = []
    with GroundingWorker(ModelSettings(device=device), scratch_dir=work) as worker:
        worker.load()
        for stack, phrases, what in (
            (radiograph, _CR_PHRASES, "a CR of {1} x {2}"),
            (ct, CT_PHRASES, "a CT of {0} slices of {1} x {2}, 1 mm apart"),
        ):
            title = f"{device}: {what.format(*stack.pixels.shape)}, five phrases"
            cases.append(
                _race(
                    title,
                    stack,
                    phrases,
                    model=model,
                    stock=stock,
                    worker=worker,
                    size=size,
                    tell=tell,
                )
            )
        if is_whole:
            cases.append(_long_ct(worker, cases[-1], model, size, tell))
    tables = [
        _pictures_table(device, cases[1], model, ct, stock),
        stage_table(model, ct, CT_PHRASES, device=device),
        limit_table(model, ct, device=device),
        arithmetic_table(model, ct, CT_PHRASES, device=device, is_whole=is_whole),
        parity_table(model, stock, ct, CT_PHRASES, work=work, is_whole=is_whole),
    ]
    return Report(cases=tuple(cases), tables=tuple(tables))


def _race(
    title: str,
    stack: ImageStack,
    phrases: Sequence[str],
    *,
    model: GroundingModel,
    stock: StockModel,
    worker: GroundingWorker,
    size: _Size,
    tell: Tell,
) -> Case:
    slices = len(stack.pixels)
    some = np.linspace(0, slices - 1, min(slices, size.stock_pictures), dtype=int)
    name = "stock, every slice" if slices > 1 else "stock"
    if len(some) < slices:
        name += f" (extrapolated from {len(some)})"
    series = series_of(stack)

    def ours() -> object:
        return model.ground(stack, phrases)

    def ours_in_worker() -> object:
        return worker.ground(series, stack.pixels, phrases)

    def theirs() -> object:
        return [stock.find(picture, phrases) for picture in show(stack, some.tolist())]

    contenders = {
        name: _timed(theirs, model.device, times=slices / len(some)),
        "dicom-node, the model": _timed(ours, model.device),
        "dicom-node, its worker": _timed(
            ours_in_worker, model.device, pid=worker.pid or 0
        ),
    }
    for contender in contenders.values() if size.repeats > 1 else ():
        contender()  # kernels are chosen, and memory is taken, the first time
    return interleave(
        title,
        contenders,
        base=name,
        repeats=size.repeats,
        tell=tell,
        goals=(Goal("dicom-node, its worker", name, _GOALS[model.device]),),
    )


def _timed(
    work: Callable[[], object],
    device: str,
    *,
    times: float = 1.0,
    pid: int | None = None,
) -> Callable[[], Measured]:
    """Return a contender with its CPU time, here or in a process of its own."""
    processes = [os.getpid()] if pid is None else [os.getpid(), pid]

    def measure() -> Measured:
        before = sum(map(cpu_seconds, processes))
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - began) * times
        used = (sum(map(cpu_seconds, processes)) - before) * times
        return seconds, {"CPU s": used}

    return measure


def _long_ct(
    worker: GroundingWorker,
    short: Case,
    model: GroundingModel,
    size: _Size,
    tell: Tell,
) -> Case:
    """Ask about a thousand thin slices; stock's time is the short CT's, multiplied."""
    stack = draw_ct(size.many, slice_mm=0.5, side=size.side)
    series = series_of(stack)
    stock = short.contenders[0]
    times = size.many / size.slices
    name = f"stock, the CT before times {times:.3g}"
    samples = iter(stock.samples)

    def extrapolated() -> Measured:
        sample = next(samples)
        return sample.seconds * times, {"CPU s": sample.extra["CPU s"] * times}

    return interleave(
        f"{model.device}: a CT of {size.many} slices, 0.5 mm apart, five phrases",
        {
            name: extrapolated,
            "dicom-node, its worker": _timed(
                lambda: worker.ground(series, stack.pixels, CT_PHRASES),
                model.device,
                pid=worker.pid or 0,
            ),
        },
        base=name,
        repeats=1,
        tell=tell,
        goals=(Goal("dicom-node, its worker", name, _GOALS[model.device]),),
    )


def _pictures_table(
    device: str, case: Case, model: GroundingModel, ct: ImageStack, stock: StockModel
) -> Table:
    """Tell images a second by what each of the two calls an image."""
    features = see_stack(model.network, ct, device=device, progress=None)
    slices, looked = len(ct.pixels), len(features.grid.slice_positions)
    of = {one.name: one.median_s for one in case.contenders}
    theirs = of[case.base] / slices
    ours = of["dicom-node, its worker"]
    weights = sum(weight.numel() for weight in model.network.parameters())
    return Table(
        f"{device}: images a second, in the CT of {slices} slices",
        ("", "weights, M", "images", "images/s", "ms an image", "of stock"),
        (
            ("stock, each slice", stock.parameters / 1e6, slices, 1 / theirs,
             1e3 * theirs, 1.0),
            ("dicom-node, by slices of the study", weights / 1e6, slices,
             slices / ours, 1e3 * ours / slices, theirs * slices / ours),
            ("dicom-node, by the slabs that it looks at, one every 3 mm", weights / 1e6,
             looked, looked / ours, 1e3 * ours / looked, theirs * looked / ours),
        ),
    )  # fmt: skip


def _notes(devices: Sequence[str]) -> tuple[str, ...]:
    notes = [
        "Stock is `MMGroundingDinoForObjectDetection` of the sizes of our trunk and "
        "core (basic ResNet blocks, two layers of BERT), with weights of chance, since "
        "nobody has released any of that size: its time does not depend on them. It "
        "sees one PIL picture after the other through `GroundingDinoProcessor` with "
        "its defaults (shorter side 800 pixels), all phrases in one prompt, and "
        "answers through `post_process_grounded_object_detection`; it makes boxes and "
        "no masks.",
        "Ours makes scores, uncertainties, boxes and masks in the pixels of the study. "
        "The worker's time holds the handing over of pixels and masks between "
        "processes.",
        "The table of the limit "
        "sets the trunk's operations beside the rate that one matrix product of that "
        "size reached in the same run: an engine that computes the same operations at "
        "that rate gains this much. It is no bound of nature: convolutions with fewer "
        "operations (Winograd) or of lower precision can be faster.",
    ]
    if "cuda" not in devices:
        notes.append("No GPU was there: the goal of 8 times is **not measured**.")
    return tuple(notes)
