from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.child.process import ChildProcess

_SAY = """
# PR_GET_DUMPABLE is 3.
import ctypes, resource
from dicom_node.private_memory import keep_memory_private
keep_memory_private()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_a_process_leaves_no_core_dump_and_cannot_be_looked_into() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _SAY], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "(0, 0) 0"


def test_a_child_that_aborts_leaves_no_core_and_knows_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.setenv("DICOM_NODE_NODE_DATABASE_URL", "postgresql://n:ZZSECRET@db/n")
    child = ChildProcess("tests.builders.answering_child")
    child.ask({"echo": 1}, timeout_s=30)
    folder = Path("/proc", str(child.pid))

    limits = (folder / "limits").read_text()
    environment = (folder / "environ").read_bytes()
    child.stop()

    (core,) = (line for line in limits.splitlines() if "core file" in line)
    assert core.split()[4:6] == ["0", "0"]
    assert b"PYTHONPATH" in environment
    assert b"ZZSECRET" not in environment
