"""The folder for what is on its way between processes: nothing stays in it.

Most of it are files without a name, which vanish with the processes that use them.
What has a name for a moment is removed at the next start, should a kill leave it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dicom_node.errors import SettingsError

__all__ = ["SCRATCH", "clear_scratch", "scratch_folder"]

SCRATCH = "scratch"
"""Its name below the data folder."""


def scratch_folder(data_dir: Path) -> Path:
    """Return the folder, made when absent, for its owner alone.

    Raises
    ------
    OSError
        It cannot be made.

    """
    folder = data_dir.resolve() / SCRATCH
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def clear_scratch(data_dir: Path) -> Path:
    """Empty the folder, and make libraries use it for their temporary files, too.

    To be called when a process that owns the data folder starts, before it has
    threads: it changes what the whole process, and its children, take for temporary.

    Raises
    ------
    SettingsError
        The folder cannot be emptied or made.

    """
    folder = data_dir.resolve() / SCRATCH
    try:
        if folder.exists():
            shutil.rmtree(folder)
        scratch_folder(data_dir)
        folder.chmod(0o700)
    except OSError as error:
        msg = f"node.data_dir {data_dir}: {error.strerror}"
        raise SettingsError(msg) from error
    # SQLite asks for TMPDIR as well.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder
