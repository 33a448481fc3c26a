"""Run the same stage function in this process, in several, or on Ray Data.

A stage writes its results into the build folder under names that its task fixes, so it
does not matter who runs it, in which order, or how often. On several machines the
folder and the datasets have to lie on storage that all of them see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm import tqdm

from training.errors import ConfigError, TrainingError

__all__ = ["Execution", "run_stage"]

T = TypeVar("T")


class Execution:
    """How stages are run.

    Parameters
    ----------
    workers
        Processes on this machine; 1: none but this one.
    ray
        Use Ray Data: the cluster that the environment names (``RAY_ADDRESS``) or that
        is connected already, else one on this machine.
    """

    def __init__(self, *, workers: int = 1, ray: bool = False) -> None:
        if workers < 1:
            raise ConfigError("a build needs at least one worker")
        self.workers = workers
        self.ray = ray


def run_stage(
    function: Callable[[T], None],
    tasks: Sequence[T],
    *,
    execution: Execution,
    title: str,
    progress: bool = True,
) -> None:
    """Run `function` on every task, showing how many are done.

    Raises
    ------
    TrainingError
        What a task raised, or that a worker process was killed. What other tasks did
        is kept, and the next run goes on from there.
    """
    hidden = None if progress else True
    with tqdm(total=len(tasks), desc=title, unit="task", disable=hidden) as bar:
        if execution.ray:
            _on_ray(function, tasks, bar)
        elif execution.workers == 1 or len(tasks) < 2:
            for task in tasks:
                function(task)
                bar.update()
        else:
            _in_processes(function, tasks, bar, workers=execution.workers)


def _in_processes(
    function: Callable[[T], None], tasks: Sequence[T], bar: Any, *, workers: int
) -> None:
    # A forked child would inherit the threads' locks of libraries without the threads.
    context = get_context("spawn")
    number = min(workers, len(tasks))
    with ProcessPoolExecutor(number, mp_context=context) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BrokenProcessPool as error:
            raise TrainingError(
                "a worker process ended before its time (killed, or out of memory); "
                "run the build again to go on"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _on_ray(function: Callable[[T], None], tasks: Sequence[T], bar: Any) -> None:
    # Ray tells its makers about a cluster unless it is asked not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed: pip install 'dicom-grounding-node[ray]'"
        ) from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    shared = ray.put(list(tasks))

    def run(row: dict[str, Any]) -> dict[str, Any]:
        function(ray.get(shared)[row["task"]])
        return row

    numbers = ray.data.from_items(
        [{"task": number} for number in range(len(tasks))],
        override_num_blocks=min(len(tasks), 1024),
    )
    done = {int(row["task"]) for row in numbers.map(run).iter_rows() if _tick(bar)}
    if len(done) != len(tasks):
        raise TrainingError("Ray lost a part of the work; run the build again")


def _tick(bar: Any) -> bool:
    bar.update()
    return True
