"""What a large instance costs, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.process import wait_until
from tests.builders.raw_peer import (
    RawPeer,
    command_set,
    encode_data_set,
    make_instance,
    p_data,
)

MEBIBYTE = 1 << 20

_SERVER = """
import sys, pathlib
from tests.builders.dicom_server import running_server
with running_server(pathlib.Path(sys.argv[1])) as node:
    pathlib.Path(sys.argv[1], "port").write_text(str(node.port))
    sys.stdin.read()
"""


def _peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


@pytest.mark.slow
def test_two_hundred_megabytes_pass_through_a_small_process(tmp_path: Path) -> None:
    pixels = (200 * MEBIBYTE).to_bytes(4, "little")
    head = encode_data_set(make_instance()) + b"\xe0\x7f\x10\x00OW\0\0" + pixels
    piece = p_data(bytes(MEBIBYTE), is_last=False, pdu_bytes=131_072)
    end = p_data(bytes(MEBIBYTE), pdu_bytes=131_072)
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    ) as server:
        told = tmp_path / "port"
        wait_until(
            lambda: told.exists() and bool(told.read_text(encoding="ascii")),
            timeout_s=60,
            what="the server to listen",
        )
        with RawPeer(int(told.read_text(encoding="ascii")), timeout_s=60) as peer:
            peer.associate(max_pdu=131_072)
            peer.send(p_data(command_set(1, sop_instance="1.2.3.4"), is_command=True))
            peer.send(p_data(head, is_last=False))
            for _ in range(199):
                peer.send(piece)
            peer.send(end)
            answer = peer.response()
            peak = _peak_mib(server.pid)
        server.communicate(timeout=30)

    assert answer.status == 0
    (kept,) = (tmp_path / "instances").rglob("*.dcm")
    assert kept.stat().st_size > 200 * MEBIBYTE
    assert peak < 150
