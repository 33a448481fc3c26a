"""Soak: many senders for a long time; nothing fails, and nothing grows."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config import DicomPeer
from dicom_node.deliver import Timeouts
from dicom_node.store import Store
from tests.builders.archive import Archive
from tests.builders.process import Program, free_port, wait_until
from tests.torture.load import Load, Senders
from tests.torture.outcome import Figure, Outcome, Scale, Tell, at_least, at_most, seen
from tests.torture.resources import Resources, sample, slope

__all__ = ["Moment", "complaints", "growth", "run", "watch"]

_SEED = 14
_PER = 10_000
_OBJECTS = 2
"""Results of each study, by `quick_node`."""
_MIB = 1 << 20
_ROOT = Path(__file__).parents[2]
_CURVE = _ROOT / "artifacts" / "torture"
_PATIENCE_S = 600.0
"""For what is left to do at the beginning and at the end."""

_PATIENT = Timeouts(connect_s=30.0, associate_s=30.0, response_s=60.0)
_SIZES = ((4 << 10, 0.7), (64 << 10, 0.25), (512 << 10, 0.05))

_REFUSALS = frozenset(
    {
        "association_aborted",
        "association_displaced",
        "association_rejected",
        "instance_refused",
        "no_thread_for_connection",
    }
)
"""Events of the node's log: whatever the machine does to a sender is none of them."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long, and how much is warm-up."""

    warm_up_s: float
    soak_s: float
    load: Load
    every_s: float


_MANY = Load(50, 100, _SIZES, study_pause_s=2.0, image_pause_s=0.2, late=0)
_PLANS = {
    Scale.SHORT: _Plan(
        1, 3, Load(6, 8, _SIZES, study_pause_s=0.5, image_pause_s=0.02, late=0), 0.2
    ),
    Scale.FULL: _Plan(60, 300, _MANY, 1),
    Scale.SOAK: _Plan(300, 3600, _MANY, 5),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """What the node held when it had acknowledged so many instances."""

    seconds: float
    instances: int
    held: Resources


def run(scale: Scale, work: Path, tell: Tell) -> Outcome:
    """Send for a long time, look at the process now and then, write the curve."""
    plan = _PLANS[scale]
    work.mkdir(exist_ok=True)
    port = free_port()
    peer = DicomPeer(name="node", ae_title="GROUNDING", host="127.0.0.1", port=port)
    with Archive() as pacs:
        config = _settings(work, port, pacs)
        command = [sys.executable, "-m", "tests.builders.quick_node", str(config)]
        with Program(command, log_path=work / "node.log", cwd=_ROOT) as program:
            program.wait_for_port(port)
            with Senders(
                work / "sent", peer, load=plan.load, seed=_SEED, timeouts=_PATIENT
            ) as senders:
                began = time.monotonic()
                _warm_up(plan, senders, pacs)
                warm_up_s = time.monotonic() - began
                tell(f"warm after {warm_up_s:.0f} s")
                moments = watch(
                    program,
                    senders,
                    seconds=plan.soak_s,
                    every_s=plan.every_s,
                    tell=tell,
                )
                stuck = senders.finish(_PATIENCE_S)
            program.check_alive()
            unfinished, undelivered = _wait_finished(work, program)
            rested = _rest(program, moments[-1])
        refused, strange = complaints(work / "node.log")
    curve = _write_curve([*moments, rested], scale)
    if scale is not Scale.SHORT:
        _draw_curve(curve)
    tell(f"curve: {curve}; not acknowledged: {dict(senders.failures)}")
    return Outcome(
        (
            seen("senders", plan.load.senders),
            seen("warm-up", round(warm_up_s / 60, 1), "min"),
            seen("minutes", round(plan.soak_s / 60, 1)),
            at_least("acknowledged instances", moments[-1].instances, 1),
            at_most("instances refused or unanswered", senders.failures.total(), 0),
            *(seen(f"of these: {reason}", n) for reason, n in _reasons(senders)),
            at_most("associations and instances the node refused", refused, 0),
            at_most("lines of its log that are no event", strange, 0),
            at_most("senders that did not get through", stuck, 0),
            at_most("studies not finished", unfinished, 0),
            at_most("results not delivered", undelivered, 0),
            *growth(moments, scale),
            seen("memory at rest", round(rested.held.rss_bytes / _MIB), "MiB"),
            seen("threads at rest", rested.held.threads),
            seen("descriptors at rest", rested.held.descriptors),
        ),
        notes=(
            "the results are a quick stand-in's; everything else is the node, with "
            "SQLite; its memory is the process's own, the model's is a child's",
        ),
    )


def growth(warm: Sequence[Moment], scale: Scale) -> tuple[Figure, ...]:
    """Judge what grows after the warm-up, for each 10,000 instances."""

    def per_many(what: Callable[[Resources], float]) -> float:
        return round(slope([(one.instances, what(one.held)) for one in warm]) * _PER, 2)

    memory = per_many(lambda held: held.rss_bytes / _MIB)
    first, last = warm[0].held, warm[-1].held
    grown = (last.rss_bytes - first.rss_bytes) / _MIB
    if scale is Scale.SHORT:
        # Seconds show no slope: only that nothing runs away.
        return (
            at_most("memory more than after the warm-up", round(grown, 1), 24, "MiB"),
            at_most("threads more", last.threads - first.threads, 20),
            at_most("descriptors more", last.descriptors - first.descriptors, 40),
        )
    return (
        at_most("memory for each 10,000 instances", memory, 1, "MiB"),
        seen("memory from warm-up to end", round(grown, 1), "MiB"),
        at_most(
            "threads for each 10,000 instances", per_many(lambda one: one.threads), 1
        ),
        at_most(
            "descriptors for each 10,000 instances",
            per_many(lambda one: one.descriptors),
            1,
        ),
        seen("threads under load", last.threads),
        seen("descriptors under load", last.descriptors),
    )


def _reasons(senders: Senders) -> list[tuple[str, int]]:
    """Return what the senders were told, or what they gave up for, and how often."""
    return senders.failures.most_common()


def complaints(log: Path) -> tuple[int, int]:
    """Count what the node itself says that it turned down: else it was not asked.

    Beside it, how many lines of its log are none of its events.
    """
    refused = strange = 0
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                refused += json.loads(line)["event"] in _REFUSALS
            except (ValueError, TypeError, KeyError):
                strange += 1
    return refused, strange


def _settings(work: Path, port: int, pacs: Archive) -> Path:
    config = work / "node.toml"
    config.write_text(
        "[node]\n"
        f"port = {port}\n"
        f"data_dir = {json.dumps(str(work / 'data'))}\n"
        "quiet_time_s = 1.0\n"
        "[web]\nenabled = false\n"
        "[limits]\nmin_free_bytes = 0\n"
        "[[destinations]]\n"
        'name = "pacs"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
        f"port = {pacs.destination.port}\n"
    )
    return config


def _warm_up(plan: _Plan, senders: Senders, pacs: Archive) -> None:
    """Wait until as many studies as senders went the whole way, at least its time.

    Before, a slow machine has not done each kind of work once: what it then loads and
    keeps is no growth.
    """
    end = time.monotonic() + plan.warm_up_s
    wanted = _OBJECTS * plan.load.senders
    wait_until(
        lambda: time.monotonic() >= end and len(pacs.uids) >= wanted,
        timeout_s=_PATIENCE_S,
        what=lambda: f"{len(pacs.uids)} of {wanted} results, {senders.failures}",
    )


def watch(
    program: Program, senders: Senders, *, seconds: float, every_s: float, tell: Tell
) -> list[Moment]:
    """Look at a process now and then while others send to it.

    Raises
    ------
    AssertionError
        It has ended; the message has the end of its log.

    """
    began = time.monotonic()
    moments: list[Moment] = []
    told = 0.0
    while (passed := time.monotonic() - began) < seconds:
        program.check_alive()
        moments.append(_moment(program, passed, senders.acknowledged.count()))
        if passed - told > 30:
            told = passed
            rss = moments[-1].held.rss_bytes // _MIB
            tell(f"{passed:.0f} s, {moments[-1].instances} instances, {rss} MiB")
        time.sleep(every_s)
    return moments


def _moment(program: Program, seconds: float, instances: int) -> Moment:
    return Moment(seconds, instances, sample(program.process.pid))


def _wait_finished(work: Path, program: Program) -> tuple[int, int]:
    """Wait for the last study, within reason.

    Returns how many are not done, and how many deliveries.
    """
    with Store(f"sqlite:///{work / 'data' / 'node.sqlite'}") as store:

        def is_done() -> bool:
            program.check_alive()
            counts = store.counts()
            return (
                set(counts.studies) == {"done"}
                and not counts.queued_versions
                and {state for _, state in counts.deliveries} == {"delivered"}
            )

        # What was measured until here is told, whatever is still left to do.
        with suppress(AssertionError):
            wait_until(is_done, timeout_s=_PATIENCE_S, what="the last study")
        program.check_alive()
        counts = store.counts()
    kept = sum(n for (_, state), n in counts.deliveries.items() if state != "delivered")
    return sum(counts.studies.values()) - counts.studies.get("done", 0), kept


def _rest(program: Program, last: Moment) -> Moment:
    """Look once more when the work is done and the senders are gone."""
    time.sleep(2.0)
    return _moment(program, last.seconds + 2.0, last.instances)


def _write_curve(moments: Sequence[Moment], scale: Scale) -> Path:
    _CURVE.mkdir(parents=True, exist_ok=True)
    path = _CURVE / f"14-soak-{scale}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("seconds", "instances", "rss_bytes", "threads", "descriptors"))
        for one in moments:
            held = (one.held.rss_bytes, one.held.threads, one.held.descriptors)
            writer.writerow((round(one.seconds, 2), one.instances, *held))
    return path


def _draw_curve(path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with path.open(newline="") as file:
        rows = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    seconds, _, memory, threads, descriptors = zip(*rows, strict=True)
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(8, 8))
    for axis, name, values in zip(
        axes,
        ("memory, MiB", "threads", "descriptors"),
        ([value / _MIB for value in memory], threads, descriptors),
        strict=True,
    ):
        axis.plot(seconds, values)
        axis.set_ylabel(name)
        axis.set_ylim(0, 1.1 * max(values))
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"))
    plt.close(figure)
