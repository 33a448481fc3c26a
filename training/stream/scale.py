"""Measure what streaming costs when there are millions of regions."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.config import MedGLIPConfig
from training.errors import ConfigError
from training.layout import RecordFile, read_shards, stored_slab
from training.records import ImageRecord
from training.stream.census import take_census
from training.stream.order import ShuffledOrder
from training.stream.picture import Drawn, draw_picture
from training.stream.scale_report import draw_plot, summary
from training.stream.store import shards_of
from training.stream.stream import ShardStream
from training.stream.synthetic import PooledStore, write_synthetic
from training.stream.wording import choose_phrases, word_pictures

__all__ = ["add_scale_arguments", "measure_scale", "scale_command"]

REPORT_FILE = "scale.json"
"""All numbers."""
PLOT_FILE = "scale.png"
"""Where the time goes, and memory over a whole pass."""

_BATCH = 8
_SHAPE = (112, 144)
_STAGES = ("read", "parse record", "decode picture", "resample and place", "word")


def add_scale_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the options of ``python -m training scale``."""
    parser.add_argument(
        "--regions", type=int, default=5_300_000, help="region records; default: 5.3e6"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="of streaming per measurement"
    )
    parser.add_argument("--side", type=int, default=512, help="pixels of a picture")
    parser.add_argument(
        "--keep", action="store_true", help="keep the set that was streamed"
    )


def scale_command(options: argparse.Namespace) -> None:
    """Measure, write the report, and say the numbers in a few lines."""
    found = measure_scale(
        options.regions,
        options.out,
        seconds=options.seconds,
        side=options.side,
        keep=options.keep,
        say=lambda text: sys.stdout.write(text + "\n"),
    )
    for line in summary(found):
        sys.stdout.write(line + "\n")


def measure_scale(
    regions: int,
    out: Path,
    *,
    seconds: float = 15.0,
    side: int = 512,
    keep: bool = False,
    workers: tuple[int, ...] = (0, 1, 2),
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Write a synthetic set, stream it in every way, and report into `out`.

    Parameters
    ----------
    regions
        Region records; five make a picture.
    seconds
        How long each way of streaming is watched.
    side
        Rows and columns of the pictures.

    Raises
    ------
    ConfigError
        The set is smaller than two batches, or `out` holds one already.
    """
    if regions < 10 * _BATCH:
        raise ConfigError(f"at least {10 * _BATCH} regions are needed")
    folder = out / "synthetic"
    if folder.exists():
        raise ConfigError(f"{folder} is there already")
    torch.set_num_threads(1)
    found: dict[str, Any] = {"regions": regions, "machine": _machine()}
    try:
        say("writing the records")
        with _timed(found, "write"):
            found["images"] = write_synthetic(folder, regions=regions, side=side)
        found["size"] = _sizes(folder)
        say("one shuffled pass over all records")
        found["pass"] = _pass_over(folder)
        say("counting labels for balanced sampling")
        with _timed(found, "census"):
            found["groups"] = len(take_census(folder, shards_of(folder, "train")).names)
        say("timing the stages of a sample")
        found["stages_ms"] = _stages(folder)
        found["limit"] = max(found["stages_ms"], key=found["stages_ms"].__getitem__)
        say("streaming pictures")
        found["stream"] = [_watch(folder, seconds, workers=n) for n in workers]
        found["balanced"] = _watch(folder, seconds, workers=0, balance=0.5)
        found["resume"] = _resume(folder, found["images"])
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    found["peak_mib"] = round(_status_mib(os.getpid(), "VmHWM"), 1)
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    (out / REPORT_FILE).write_text(text, encoding="utf-8")
    draw_plot(found, out / PLOT_FILE)
    return found


def _machine() -> dict[str, Any]:
    load = os.getloadavg()[0]
    return {"cpus": os.cpu_count(), "load": load, "python": platform.python_version()}


@contextmanager
def _timed(found: dict[str, Any], name: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    found[f"{name}_s"] = round(time.perf_counter() - start, 3)
    found[f"{name}_cpu_s"] = round(time.process_time() - cpu, 3)


def _sizes(folder: Path) -> dict[str, float]:
    tars = sum(path.stat().st_size for path in (folder / "shards").iterdir())
    return {
        "records_mib": _mib((folder / "records.jsonl").stat().st_size),
        "index_mib": _mib((folder / "records.idx").stat().st_size),
        "pictures_mib": _mib(tars),
        "shards": float(len(read_shards(folder))),
    }


def _mib(size: float) -> float:
    return round(size / (1 << 20), 2)


def _status_mib(pid: int, name: str) -> float:
    """Return a size that Linux keeps of a process; 0 where there is no such file."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    lines = (line.split() for line in text.splitlines())
    return next((int(w[1]) / 1024 for w in lines if w and w[0] == f"{name}:"), 0.0)


def _pass_over(folder: Path) -> dict[str, Any]:
    """Read every record once in shuffled order; memory is read at every tenth."""
    shards, records = shards_of(folder, "train"), RecordFile(folder)
    firsts, counts = [s.first for s in shards], [s.samples for s in shards]
    order = ShuffledOrder(firsts, counts, seed=1)
    seen = np.zeros(len(records), dtype=np.bool_)
    marks = {round(order.length * tenth / 10) - 1: tenth for tenth in range(1, 11)}
    rss, size = [_status_mib(os.getpid(), "VmRSS")], 0
    start, cpu = time.perf_counter(), time.process_time()
    for draw in range(order.length):
        line = order.sample(draw)
        seen[line] = True
        size += len(records.line(line))
        if draw in marks:
            rss.append(_status_mib(os.getpid(), "VmRSS"))
    spent, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "records_per_cpu_s": round(order.length / cpu, 1),
        "records_per_s": round(order.length / spent, 1),
        "mib_per_s": round(_mib(size) / spent, 1),
        "each_once": bool(seen.all()) and order.length == len(records),
        "rss_mib": [round(value, 1) for value in rss],
    }


def _stages(folder: Path) -> dict[str, float]:
    """Return CPU milliseconds per sample of each stage: medians over batches."""
    store, rng = PooledStore(folder), np.random.default_rng(0)
    config, length = MedGLIPConfig(), len(RecordFile(folder))
    rounds: list[list[float]] = []
    for _ in range(7):
        clock, marks = time.process_time, [time.process_time()]
        samples = [store.members(int(i)) for i in rng.integers(length, size=_BATCH)]
        marks.append(clock())
        for sample in samples:
            ImageRecord.from_json(sample["json"])
        marks.append(clock())
        for sample in samples:
            stored_slab(sample)
        marks.append(clock())
        pictures = [
            draw_picture(sample, config=config, shape=_SHAPE, drawn=Drawn())
            for sample in samples
        ]
        marks.append(clock())
        asked = choose_phrases(pictures, rng, count=48)
        word_pictures(pictures, asked, rng)
        marks.append(clock())
        read, parse, decode, whole, word = np.diff(marks) * 1000 / _BATCH
        rounds.append([read, parse, decode, max(whole - parse - decode, 0.0), word])
    median = np.median(np.array(rounds), axis=0)
    return dict(zip(_STAGES, (round(float(ms), 3) for ms in median), strict=True))


def _open(folder: Path, **changes: Any) -> ShardStream:
    return ShardStream(
        folder,
        config=MedGLIPConfig(),
        shape=_SHAPE,
        batch=_BATCH,
        phrases=48,
        store=PooledStore(folder),
        **changes,
    )


def _watch(folder: Path, seconds: float, **changes: Any) -> dict[str, Any]:
    """Stream pictures for a while, after a batch to warm up."""
    start = time.perf_counter()
    stream = _open(folder, **changes)
    opened = time.perf_counter() - start
    next(stream)
    batches = 0
    rss: list[float] = []
    start, cpu = time.perf_counter(), _cpu_s()
    while (spent := time.perf_counter() - start) < seconds or batches < 2:
        next(stream)
        batches += 1
        if not rss and spent >= seconds / 10:
            rss.append(_status_mib(os.getpid(), "VmRSS"))
    rss.append(_status_mib(os.getpid(), "VmRSS"))
    cpu = _cpu_s() - cpu
    return {
        **changes,
        "samples_per_cpu_s": round(batches * _BATCH / cpu, 2),
        "samples_per_s": round(batches * _BATCH / spent, 2),
        "samples": batches * _BATCH,
        "open_s": round(opened, 3),
        "rss_mib": [round(rss[0], 1), round(rss[-1], 1)],
        "workers_mib": round(sum(_status_mib(pid, "VmRSS") for pid in _workers()), 1),
    }


def _workers() -> list[int]:
    return [one.pid for one in multiprocessing.active_children() if one.pid]


def _cpu_s() -> float:
    """Return CPU seconds of this process and its running workers."""
    ticks = 0
    for pid in _workers():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            continue
        words = text.rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])  # utime and stime, proc(5)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _resume(folder: Path, images: int) -> dict[str, Any]:
    """Time the first batch of a run, and that of one that goes on from the middle."""
    times = {}
    for name, batches in (("start_s", 0), ("middle_s", images // _BATCH // 2)):
        start = time.perf_counter()
        stream = _open(folder)
        state = {**stream.state_dict(), "batches": batches}
        stream.load_state_dict(state)
        next(stream)
        times[name] = round(time.perf_counter() - start, 3)
    return times


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_scale_arguments(_parser)
    scale_command(_parser.parse_args())
