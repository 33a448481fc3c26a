"""What the C library itself says of its heaps, `malloc_info(3)`."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

_SAY = """
import ctypes, threading
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.free.argtypes = (ctypes.c_void_p,)
together = threading.Barrier(8)

def work():
    for _ in range(20):
        together.wait()
        # ctypes lets go of Python's lock: the heaps are asked at the same time.
        libc.free(libc.malloc(50_000))

threads = [threading.Thread(target=work) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
# What was large once is not kept from then on.
libc.free(libc.malloc(1 << 20))
kept = libc.malloc(1 << 20)
libc.fopen.restype = ctypes.c_void_p
libc.fclose.argtypes = (ctypes.c_void_p,)
libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
file = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""
_CALL = "from dicom_node.heap import keep_heap_small; keep_heap_small()"


def _heaps(before: str) -> ET.Element:
    said = subprocess.run(
        [sys.executable, "-c", _SAY.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
    )
    return ET.fromstring(said.stdout)


def _mapped(told: ET.Element) -> int:
    return int(told.findall("total[@type='mmap']")[-1].attrib["size"])


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the GNU C library")
def test_threads_share_one_heap_and_large_blocks_stay_out_of_it() -> None:
    usual, small = _heaps(""), _heaps(_CALL)

    assert len(usual.findall("heap")) > 1
    assert len(small.findall("heap")) == 1
    assert _mapped(small) >= _mapped(usual) + (1 << 20)
