"""Runs contenders in turn, so that what else the machine does meets all of them."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping

from tests.bench.report import Case, Ceiling, Contender, Goal, Sample, Tell

__all__ = ["Measured", "interleave", "timed"]

Measured = tuple[float, Mapping[str, float]]
"""Seconds, and further numbers by their column's title."""


def interleave(
    title: str,
    contenders: Mapping[str, Callable[[], Measured]],
    *,
    base: str,
    repeats: int,
    tell: Tell,
    goals: tuple[Goal, ...] = (),
    ceilings: tuple[Ceiling, ...] = (),
) -> Case:
    """Run each contender `repeats` times, forwards and backwards in turn.

    Parameters
    ----------
    title : str
        What is done, with its sizes.
    contenders : mapping
        By name, what does the work once and returns its `Measured`. It makes ready
        what it needs outside its own clock.
    base : str
        The contender to whom the others are compared.
    repeats : int
        Of each; odd, for a median that was measured.
    tell : callable
        Hears of each repeat.
    goals : tuple of Goal, optional
        What is asked of the ratios.
    ceilings : tuple of Ceiling, optional
        What is asked of the figures.

    Returns
    -------
    Case

    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    names = list(contenders)
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else names[::-1]:
            gc.collect()
            seconds, extra = contenders[name]()
            samples[name].append(Sample(seconds, os.getloadavg()[0], dict(extra)))
            tell(f"{title}: {name}, {repeat + 1} of {repeats}: {seconds:.3f} s")
    return Case(
        title,
        base,
        tuple(Contender(name, tuple(of)) for name, of in samples.items()),
        goals,
        ceilings,
    )


def timed(work: Callable[[], object]) -> Callable[[], Measured]:
    """Return a contender that is timed as a whole, in this process."""

    def run() -> Measured:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began, {}

    return run
