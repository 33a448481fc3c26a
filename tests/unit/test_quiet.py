"""A thread is quiet without a word to the others."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import pytest

import dicom_node
from dicom_node.quiet import _FILTER, quiet


def warn() -> None:
    warnings.warn("said", UserWarning, stacklevel=1)


def test_two_threads_that_are_quiet_in_turns_leave_no_filter_behind() -> None:
    # The order that leaves the filters of one thread to all, where each puts back
    # what it found: in, in, out, out.
    steps = {name: threading.Event() for name in ("first in", "second in", "first out")}
    heard: list[Warning] = []

    def first() -> None:
        with quiet():
            steps["first in"].set()
            steps["second in"].wait(10)
            warn()
        try:
            warn()
        except UserWarning as error:
            heard.append(error)
        steps["first out"].set()

    def second() -> None:
        steps["first in"].wait(10)
        with quiet():
            steps["second in"].set()
            steps["first out"].wait(10)
            warn()

    threads = [threading.Thread(target=one) for one in (first, second)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert [str(one) for one in heard] == ["said"]
    with pytest.raises(UserWarning):
        warn()


def test_quiet_within_quiet_ends_with_the_outer() -> None:
    with quiet():
        with quiet():
            warn()
        warn()
    with pytest.raises(UserWarning):
        warn()


def test_no_module_switches_the_warnings_of_the_whole_process_for_a_moment() -> None:
    root = Path(dicom_node.__file__).parent

    found = [
        path.relative_to(root)
        for path in root.rglob("*.py")
        if re.search(r"\bcatch_warnings\b", path.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_filters_do_not_grow_where_others_set_theirs() -> None:
    with warnings.catch_warnings():
        for number in range(20):
            warnings.filterwarnings("ignore", message=f"number {number}")
            with quiet():
                warn()
        filters = list(warnings.filters)

    assert filters.count(_FILTER) == 1
