from __future__ import annotations

import errno
import threading

import numpy as np
import pytest

from dicom_node.errors import PixelDecodingError
from dicom_node.imaging.read_ahead import read_ahead


class Reader:
    """Numbers the series, and fails over some."""

    def __init__(self, *, bad=()):
        self.bad = bad
        self.begun: list[str] = []
        self.threads: list[str] = []
        self.event = threading.Event()

    def read(self, series, *, reading=None):
        self.begun.append(series)
        self.threads.append(threading.current_thread().name)
        if len(self.begun) == 2:
            self.event.set()
        if series in self.bad:
            raise PixelDecodingError("cannot be decoded", uid=series)
        return np.full((1, 2, 2), ord(series))


def test_each_series_gets_its_own_pixels():
    reader = Reader()

    with read_ahead(["a", "b", "c"], reader) as ahead:
        found = [chr(int(ahead.read(one)[0, 0, 0])) for one in ("a", "b", "c")]

    assert found == ["a", "b", "c"]
    assert reader.begun == ["a", "b", "c"]


def test_the_next_series_is_read_while_this_one_is_worked_on():
    reader = Reader()

    with read_ahead(["a", "b"], reader) as ahead:
        ahead.read("a")
        assert reader.event.wait(30)  # nobody has asked for b

    assert reader.threads[1].startswith("read-ahead")


def test_only_one_series_is_read_ahead():
    reader = Reader()

    with read_ahead(list("abcdef"), reader) as ahead:
        ahead.read("a")

    assert set(reader.begun) <= {"a", "b"}


def test_a_series_that_cannot_be_decoded_fails_at_its_own_turn():
    reader = Reader(bad=("b",))

    with read_ahead(["a", "b", "c"], reader) as ahead:
        ahead.read("a")
        with pytest.raises(PixelDecodingError):
            ahead.read("b")
        found = ahead.read("c")

    assert found[0, 0, 0] == ord("c")
    assert reader.begun == ["a", "b", "c"]


def test_who_leaves_early_waits_for_no_further_series():
    reader = Reader()

    def leave():
        with read_ahead(list("abc"), reader) as ahead:
            ahead.read("a")
            raise RuntimeError("the model is lost")

    with pytest.raises(RuntimeError, match="lost"):
        leave()

    assert "c" not in reader.begun
    assert not any(one.name.startswith("read-ahead") for one in threading.enumerate())


def test_who_leaves_ends_what_is_being_read_ahead():
    class Slow(Reader):
        """Reads ahead until it is ended."""

        def read(self, series, *, reading=None):
            if series == "a":
                return super().read(series)
            child = Child()
            with reading.using(child):
                self.event.set()
                assert child.interrupted.wait(30)
            return None

    class Child:
        def __init__(self):
            self.interrupted = threading.Event()

        def interrupt(self):
            self.interrupted.set()

    reader = Slow()

    def leave():
        with read_ahead(list("ab"), reader) as ahead:
            ahead.read("a")
            assert reader.event.wait(30)
            raise RuntimeError("the node stops")

    with pytest.raises(RuntimeError, match="stops"):
        leave()

    assert not any(one.name.startswith("read-ahead") for one in threading.enumerate())


@pytest.mark.parametrize("error", [OSError, MemoryError])
def test_a_series_without_room_beside_another_is_read_when_that_is_gone(error):
    reader = Reader()
    usual, calls = reader.read, []

    def read(series, *, reading=None):
        calls.append((series, threading.current_thread().name))
        if threading.current_thread().name.startswith("read-ahead"):
            raise error
        return usual(series)

    reader.read = read

    with read_ahead(["a", "b"], reader) as ahead:
        ahead.read("a")
        found = ahead.read("b")

    assert found[0, 0, 0] == ord("b")
    assert [name.startswith("read-ahead") for one, name in calls if one == "b"] == [
        True,
        False,
    ]


def test_a_series_for_which_there_is_no_room_at_all_is_an_error():
    reader = Reader()
    usual = reader.read

    def read(series, *, reading=None):
        if series == "b":
            raise OSError(errno.ENOSPC, "full")
        return usual(series)

    reader.read = read

    with read_ahead(["a", "b"], reader) as ahead:
        ahead.read("a")
        with pytest.raises(OSError, match="full"):
            ahead.read("b")
