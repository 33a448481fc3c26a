"""What a process holds is counted for it and for its children apart."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tests.torture.resources import sample, sample_children, slope


def test_threads_and_descriptors_of_a_process_are_counted() -> None:
    before = sample(os.getpid())
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    left, right = os.pipe()

    during = sample(os.getpid())

    done.set()
    thread.join()
    os.close(left)
    os.close(right)
    assert during.threads == before.threads + 1
    assert during.descriptors == before.descriptors + 2
    assert during.rss_bytes > 1 << 20


def test_children_are_counted_apart_and_with_their_own_children() -> None:
    before = sample_children(os.getpid())
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = sample_children(os.getpid())
        child.communicate("\n")

    assert during.threads == before.threads + 2


def test_a_process_that_is_gone_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    with pytest.raises(ProcessLookupError):
        sample(child.pid)


def test_a_slope_is_what_the_line_rises_whatever_one_outlier_says() -> None:
    points = [(float(x), 100.0 + 3.0 * x) for x in range(20)]
    points[7] = (7.0, 1e9)

    assert slope(points) == pytest.approx(3.0)


def test_a_slope_needs_two_points() -> None:
    with pytest.raises(ValueError, match="two points"):
        slope([(1.0, 2.0)])
