"""What a process used: CPU time and the peak of its resident memory."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_seconds", "forget_peak", "peak_mib", "resident_mib"]

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children that have ended, in seconds."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    # The name in parentheses may hold blanks; utime is the 14th field of proc(5).
    fields = text.rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15]) / _TICKS


def forget_peak(pid: int) -> None:
    """Let the peak of a process begin anew at what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(pid: int) -> float:
    """Return the most resident memory that a process held at once, in MiB."""
    return _mib(pid, "VmHWM")


def resident_mib(pid: int) -> float:
    """Return the resident memory that a process holds now, in MiB."""
    return _mib(pid, "VmRSS")


def _mib(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    msg = f"the system does not tell {what} of process {pid}"
    raise ProcessLookupError(msg)
