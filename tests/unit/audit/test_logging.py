from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest
import structlog

from dicom_node.audit import configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    names = ["", "dicom_node", "model", "conformance", "pynetdicom", "pydicom"]
    names += ["highdicom", "dbos", "alembic", "uvicorn", "sqlalchemy"]
    loggers = [logging.getLogger(name) for name in names]
    before = [
        (one, one.handlers, one.filters, one.level, one.propagate) for one in loggers
    ]
    for one in loggers:
        one.filters = []  # a node that ended in this process expects interruptions
    hooks = sys.excepthook, threading.excepthook
    written = io.StringIO()
    configure_logging(stream=written, as_json=True)
    # A thread that another test left behind may speak at any time.
    (handler,) = logging.getLogger().handlers
    here = threading.get_ident()
    handler.addFilter(lambda record: record.thread == here)
    yield written
    sys.excepthook, threading.excepthook = hooks
    structlog.reset_defaults()
    for one, handlers, filters, level, propagate in before:
        one.handlers, one.filters, one.propagate = handlers, filters, propagate
        one.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_and_its_fields_are_one_json_line(stream: io.StringIO) -> None:
    structlog.get_logger("dicom_node.x").info("instance_received", size_bytes=3)

    (line,) = lines(stream)
    assert line["event"] == "instance_received"
    assert line["size_bytes"] == 3
    assert line["level"] == "info"
    assert str(line["timestamp"]).endswith("Z")


def test_a_newline_in_a_value_makes_no_second_line(stream: io.StringIO) -> None:
    forged = 'PACS\n{"event": "forged"}'

    log = structlog.get_logger("dicom_node.x")
    log.info("association_accepted", calling_ae_title=forged)

    (line,) = lines(stream)
    assert line["calling_ae_title"] == forged


@pytest.mark.parametrize("name", ["dicom_node.x", "uvicorn.error", "dbos"])
def test_an_exception_is_written_as_class_and_place_without_its_text(
    stream: io.StringIO, name: str
) -> None:
    try:
        int("ZZCANARY^PATIENT")
    except ValueError:
        logging.getLogger(name).exception("it failed")

    (line,) = lines(stream)
    assert line["exception"] == "ValueError"
    assert "test_logging.py" in str(line["raised_at"])
    assert "ZZCANARY" not in stream.getvalue()


@pytest.mark.parametrize("name", ["pynetdicom.dul", "pydicom"])
def test_libraries_that_quote_data_sets_are_silent(
    stream: io.StringIO, name: str
) -> None:
    logging.getLogger(name).error("ZZCANARY^PATIENT")

    assert stream.getvalue() == ""


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_a_library_is_heard_by_its_place_alone(stream: io.StringIO, level: str) -> None:
    configure_logging(level=level, stream=stream, as_json=True)

    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200))
    ) as c:
        c.get("http://archive.example/studies?PatientID=ZZCANARY")
    logging.getLogger("asyncio").debug("ZZCANARY")
    logging.getLogger("asyncio").error("exception=%s", ValueError("ZZCANARY"))
    structlog.get_logger("dicom_node.x").debug("told")

    said = {str(one["event"]): one for one in lines(stream)}
    assert set(said) == {"library_message"} | ({"told"} if level == "DEBUG" else set())
    assert said["library_message"]["logger"] == "asyncio"
    assert "test_logging.py:" in str(said["library_message"]["logged_at"])
    assert "ZZCANARY" not in stream.getvalue()


IN_A_THREAD = "one = threading.Thread(target=fail, name='x'); one.start(); one.join()"


@pytest.mark.parametrize(
    ("call", "exit_code"), [("fail()", 1), (IN_A_THREAD, 0)], ids=["main", "thread"]
)
def test_what_nothing_catches_is_a_line_of_class_and_place(
    call: str, exit_code: int
) -> None:
    program = (
        "import threading\n"
        "from dicom_node.audit import configure_logging\n"
        "def fail(): int('ZZCANARY^PATIENT')\n"
        "configure_logging(as_json=True)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program + call],
        capture_output=True,
        text=True,
        check=False,
    )

    (line,) = [json.loads(one) for one in ended.stderr.splitlines()]
    assert ended.returncode == exit_code
    assert (line["event"], line["level"]) == ("uncaught_exception", "critical")
    assert line["exception"] == "ValueError"
    assert line["raised_at"] == "<string>:3"
    assert "ZZCANARY" not in ended.stdout + ended.stderr
