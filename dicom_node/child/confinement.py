"""Where a child process begins: it gives up what it does not need, then runs.

It is the program of every `ChildProcess` and imports nothing but the standard
library, so that no thread runs and nothing of a peer is read before the limits hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import runpy
import sys
from pathlib import Path

__all__ = ["main"]

_PR_SET_NO_NEW_PRIVS = 38
"""prctl(2): no program that it starts gets more rights than it has."""

_CLONE_NEWNET = 0x40000000
"""unshare(2): network interfaces of its own, of which there is only loopback, down."""

_OOM_SCORE_ADJUSTMENT = b"500"
"""Where the machine runs out of memory, the kernel takes a child before the node."""

_NICENESS = 5
"""What peers wait for goes first: reception, then decoding and the model."""


def main() -> None:
    """Confine the process and run a module in it.

    The arguments are whether the network is kept (0 or 1), the largest file that may
    be written in bytes, the module, and the module's own arguments.
    """
    keeps_network, file_bytes, module = sys.argv[1:4]
    # A core holds what was in memory: images and reports.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_bytes), int(file_bytes)))
    os.nice(_NICENESS)
    # A child leads a session, and kernels that group processes by session
    # (sched(7), autogroup) weigh niceness within one only.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS), encoding="ascii")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE_ADJUSTMENT)
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if keeps_network == "0":
        # Only who may administer the system can; docs/dicom-node.service asks the
        # system to do the same for the others.
        library.unshare(_CLONE_NEWNET)
    sys.argv = [module, *sys.argv[4:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
