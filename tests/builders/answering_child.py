"""A child process for tests of `dicom_node.child.process`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from dicom_node.child.answers import Answer, Tell, answer_requests
from dicom_node.errors import PixelDecodingError


def answer(request: Answer, tell: Tell) -> Answer:
    """Do what the request's only key names."""
    files = request.pop("files")
    ((what, value),) = request.items()
    if what == "sleep":
        time.sleep(value)
    elif what == "signal":
        os.kill(os.getpid(), value)
    elif what == "progress":
        for done in range(1, value + 1):
            tell(done, value)
    elif what == "node_error":
        raise PixelDecodingError(value)
    elif what == "foreign_error":
        raise ValueError(value)
    elif what == "say":
        print(value, file=sys.stderr, flush=True)
        os.abort()
    elif what == "copy":
        Path(files[1]).write_bytes(Path(files[0]).read_bytes())
    elif what == "start":
        return {"pid": subprocess.Popen(["sleep", "60"]).pid}
    elif what == "environment":
        return {"names": sorted(os.environ)}
    elif what == "limits":
        return {
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
            "file": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
            "nice": os.nice(0),
            "session": _niceness_of_session(),
            "interfaces": Path("/proc/net/dev").read_text().count(":"),
        }
    return request


def _niceness_of_session() -> int | None:
    """Return what sched(7) calls the nice value of an autogroup; None: not grouped."""
    path = Path("/proc/self/autogroup")
    return int(path.read_text().split()[-1]) if path.exists() else None


if __name__ == "__main__":
    answer_requests(answer, socket_fd=int(sys.argv[1]))
