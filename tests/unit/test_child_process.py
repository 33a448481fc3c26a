from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from dicom_node.child.process import ChildProcess
from dicom_node.errors import ProcessLostError

CHILD = "tests.builders.answering_child"


@pytest.fixture
def child(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    process = ChildProcess(CHILD)
    yield process
    process.stop()


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_request_is_answered_and_the_child_stays(child):
    first = child.ask({"echo": 1}, timeout_s=30)
    pid = child.pid
    second = child.ask({"echo": "two"}, timeout_s=30)

    assert (first, second) == ({"result": {"echo": 1}}, {"result": {"echo": "two"}})
    assert child.pid == pid


def test_progress_arrives_in_order(child):
    told = []

    child.ask(
        {"progress": 3},
        timeout_s=30,
        tell=lambda done, total: told.append((done, total)),
    )

    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_child_that_dies_is_lost_and_the_next_request_gets_another(child):
    with pytest.raises(ProcessLostError, match="SIGKILL") as lost:
        child.ask({"signal": signal.SIGKILL.value}, timeout_s=30)

    assert not lost.value.timed_out
    assert child.ask({"echo": 1}, timeout_s=30) == {"result": {"echo": 1}}


def test_a_child_that_takes_too_long_is_killed(child):
    child.ask({"echo": 1}, timeout_s=30)
    pid = child.pid

    with pytest.raises(ProcessLostError, match=r"no answer within 0\.2 s") as lost:
        child.ask({"sleep": 60}, timeout_s=0.2)

    assert lost.value.timed_out
    assert not is_running(pid)


def test_a_late_answer_is_never_taken_for_the_next_one(child):
    def interrupt(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.ask({"progress": 3}, timeout_s=30, tell=interrupt)

    assert child.ask({"echo": "next"}, timeout_s=30) == {"result": {"echo": "next"}}


def test_errors_of_the_node_travel_with_their_message(child):
    answer = child.ask({"node_error": "no such frame"}, timeout_s=30)

    assert answer == {"error": "no such frame", "kind": "PixelDecodingError"}


def test_messages_of_foreign_errors_stay_behind(child):
    answer = child.ask({"foreign_error": "Doe^Jane"}, timeout_s=30)

    assert "Doe" not in json.dumps(answer)
    assert answer["error"].startswith("ValueError (answering_child.py:")


def test_a_waiting_request_can_be_interrupted_from_another_thread(child):
    child.ask({"echo": 1}, timeout_s=30)
    timer = threading.Timer(0.2, child.interrupt)
    timer.start()

    with pytest.raises(ProcessLostError, match="SIGKILL"):
        child.ask({"sleep": 60}, timeout_s=30)
    timer.join()


def test_stopping_lets_an_idle_child_leave_by_itself(child):
    child.ask({"echo": 1}, timeout_s=30)
    pid = child.pid

    child.stop()

    assert not is_running(pid)
    assert child.pid is None


@pytest.mark.parametrize("request_text", ['{"echo": 1}', '{"sleep": 60}'])
def test_the_child_ends_when_its_parent_is_killed(tmp_path, request_text):
    script = (
        "import sys\n"
        "from dicom_node.child.process import ChildProcess\n"
        f"child = ChildProcess({CHILD!r})\n"
        "child.ask({'echo': 1}, timeout_s=30)\n"
        "print(child.pid, flush=True)\n"
        f"child.ask({request_text}, timeout_s=60)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    pid = int(parent.stdout.readline())

    parent.kill()
    parent.communicate()

    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)


def test_files_without_a_name_are_handed_over(child):
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
        given.write(b"pixels")
        given.flush()

        for _ in range(3):
            files = (given.fileno(), taken.fileno())
            child.ask({"copy": None}, timeout_s=30, files=files)

        assert taken.read() == b"pixels"
    descriptors = Path(f"/proc/{child.pid}/fd")
    assert not [one for one in descriptors.iterdir() if "#" in str(one.readlink())]


def test_what_a_child_started_ends_with_it(child):
    grandchild = child.ask({"start": None}, timeout_s=30)["result"]["pid"]
    assert is_running(grandchild)

    with pytest.raises(ProcessLostError):
        child.ask({"signal": signal.SIGKILL.value}, timeout_s=30)

    deadline = time.monotonic() + 10
    while is_running(grandchild) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(grandchild)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("memory allocation of 4294705154 bytes failed Doe^Jane", "out of memory"),
        ("RuntimeError: CUDA error: Doe^Jane", "its device failed"),
        ("Doe^Jane", "SIGABRT"),
    ],
)
def test_the_last_words_of_a_child_give_a_reason_and_are_not_quoted(
    child, words, reason
):
    with pytest.raises(ProcessLostError) as lost:
        child.ask({"say": words}, timeout_s=30)

    assert reason in str(lost.value)
    assert "Doe" not in str(lost.value)


def test_nothing_secret_of_the_environment_reaches_a_child(child, monkeypatch):
    monkeypatch.setenv("DICOM_NODE_NODE_DATABASE_URL", "postgresql://u:secret@db/x")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    names = set(child.ask({"environment": None}, timeout_s=30)["result"]["names"])

    assert not names & {"DICOM_NODE_NODE_DATABASE_URL", "PGPASSWORD", "HF_TOKEN"}
    assert {"CUDA_VISIBLE_DEVICES", "PATH"} <= names


def test_a_child_is_confined_before_anything_else(child):
    limits = child.ask({"limits": None}, timeout_s=30)["result"]

    assert limits["core"] == 0
    assert limits["file"] == 64 << 30
    assert limits["nice"] == min(os.nice(0) + 5, 19)
    assert limits["session"] in (None, 5)
    if os.geteuid() == 0:
        assert limits["interfaces"] == 1  # loopback alone


def test_a_start_that_fails_leaves_no_descriptor_open(child, monkeypatch):
    def refuse(*_arguments, **_options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BlockingIOError):
        child.start()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
