"""A child process for tests of `dicom_node.child_process`."""

from __future__ import annotations

import os
import sys
import time

from dicom_node.child_process import Answer, Tell, answer_requests
from dicom_node.errors import PixelDecodingError


def answer(request: Answer, tell: Tell) -> Answer:
    """Do what the request's only key names."""
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
    return request


if __name__ == "__main__":
    answer_requests(answer, socket_fd=int(sys.argv[1]))
