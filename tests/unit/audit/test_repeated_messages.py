"""What a library says again and again is one line a minute, with a count."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from dicom_node.audit import configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    names = ("", "dbos", "sqlalchemy", "uvicorn", "pynetdicom", "pydicom", "highdicom")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, one.handlers, one.level, one.propagate) for one in loggers]
    out = io.StringIO()
    configure_logging(stream=out, as_json=True)
    yield out
    for one, handlers, level, propagate in before:
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def _say(
    at_s: float, *, name: str = "dbos", line: int = 1, error: Exception | None = None
) -> None:
    info = None if error is None else (type(error), error, None)
    record = logging.getLogger(name).makeRecord(
        name, logging.WARNING, "queue.py", line, "the disk is full", (), info
    )
    record.created = 1_000_000.0 + at_s
    logging.getLogger(name).handle(record)


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_same_message_is_one_line_a_minute_with_a_count(
    stream: io.StringIO,
) -> None:
    for second in range(121):
        _say(second)

    said = _lines(stream)
    assert [one["event"] for one in said] == ["library_message"] * 3
    assert [one.get("repeated") for one in said] == [None, 59, 59]


def test_each_kind_of_message_is_counted_by_itself(stream: io.StringIO) -> None:
    for second in range(3):
        _say(second)
        _say(second, line=2)
        _say(second, name="asyncio", error=ValueError())
        _say(second, name="asyncio", error=OSError())

    assert len(_lines(stream)) == 4


def test_the_nodes_own_events_are_all_there(stream: io.StringIO) -> None:
    for second in range(3):
        _say(second, name="dicom_node.x")
        _say(second, name="uvicorn.error")

    assert len(_lines(stream)) == 6
