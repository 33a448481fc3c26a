"""Programs of other projects that the node is tested against."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["cannot_run", "require_program"]

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
    if path is None:
        cannot_run(f"{name} is not installed (docs/testing.md: what needs which peer)")
    return Path(path)


def cannot_run(reason: str) -> NoReturn:
    """Skip the test that needs what is not here; where ``CI`` is set, fail it.

    Parameters
    ----------
    reason : str
        What is missing.

    """
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
