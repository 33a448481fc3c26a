"""Tests of a commit for several threads that an interrupt ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicom_node.errors import StoreError
from dicom_node.store import Store


def test_an_interrupted_commit_leaves_nobody_waiting(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'node.db'}")
    store.migrate()
    database = store._database
    has_begun, may_go_on = threading.Event(), threading.Event()

    def interrupted(_connection):
        has_begun.set()
        may_go_on.wait(30)
        raise KeyboardInterrupt

    def hold(_connection):
        has_begun.set()
        may_go_on.wait(30)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(database.commit_together, hold)
        assert has_begun.wait(30)
        others = [
            pool.submit(database.commit_together, change)
            for change in (interrupted, lambda _connection: "made")
        ]
        while len(database._queue) < len(others):
            pass
        may_go_on.set()
        first.result(30)
        errors = [one.exception(30) for one in others]
    assert sum(isinstance(one, KeyboardInterrupt) for one in errors) == 1
    with pytest.raises(StoreError):
        raise next(one for one in errors if not isinstance(one, KeyboardInterrupt))
    assert database.commit_together(lambda _connection: "made") == "made"
    store.close()
