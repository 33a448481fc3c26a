"""What every test leaves as it found it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from argon2 import PasswordHasher
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


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


@pytest.fixture(autouse=True, scope="session")
def quick_hashes() -> Iterator[None]:
    """Hash with little work: what the library's own parameters cost is its matter."""
    # Only where a test module has imported it: other tests need no web server.
    passwords = sys.modules.get("dicom_node.web.passwords")
    with pytest.MonkeyPatch.context() as patch:
        if passwords is not None:
            quick = PasswordHasher(time_cost=2, memory_cost=1024, parallelism=1)
            patch.setattr(passwords, "_HASHER", quick)
        yield
