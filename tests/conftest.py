"""What every test leaves as it found it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_of_the_process() -> Iterator[None]:
    """Undo `configure_logging`: its stream may end with the test."""
    names = ("", "pynetdicom", "pydicom", "highdicom", "dbos", "sqlalchemy", "alembic")
    loggers = [logging.getLogger(name) for name in names]
    before = [(list(one.handlers), one.level, one.propagate) for one in loggers]
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks
    if structlog.is_configured():
        structlog.reset_defaults()
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)
