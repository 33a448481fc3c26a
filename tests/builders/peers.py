"""Programs of other projects that the node is tested against."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["require_program"]

_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin")


def require_program(name: str) -> Path:
    """Return the path of a system program, or skip the test that needs it.

    System folders are searched before ``PATH``: a virtual environment with
    pynetdicom in it has Python scripts called ``storescu`` and ``echoscu``.

    Parameters
    ----------
    name : str
        For example ``storescu``.

    Raises
    ------
    pytest.skip.Exception
        The program is not installed and ``CI`` is not set.
    pytest.fail.Exception
        The program is not installed and ``CI`` is set: there it must be.

    """
    path = shutil.which(name, path=os.pathsep.join(_SYSTEM_FOLDERS))
    path = path or shutil.which(name)
    if path is not None:
        return Path(path)
    reason = f"{name} is not installed (see the README: what the tests need)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
