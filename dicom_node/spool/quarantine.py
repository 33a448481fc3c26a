"""What cannot be understood is set aside below ``quarantine/``: nothing is lost."""

from __future__ import annotations

import itertools
from pathlib import Path

from dicom_node.durable import make_durable, sync_path

__all__ = ["QUARANTINE", "count_quarantined", "set_aside"]

QUARANTINE = "quarantine"
_MOST = 1000
"""Things that are set aside; more stay where they are, and are told of."""


def set_aside(
    data_dir: Path, path: Path, *, below: str = "", name: str | None = None
) -> bool:
    """Set a file or folder aside under its name, or one that begins so.

    To be called while nobody else sets anything aside.

    Parameters
    ----------
    data_dir : pathlib.Path
        The data folder.
    path : pathlib.Path
        Relative to it.
    below : str
        A folder of the quarantine.
    name : str, optional
        Its name there; that of ``path`` when absent.

    Returns
    -------
    bool
        False: there are too many, or it stays where it is.

    """
    folder = data_dir / QUARANTINE / below
    try:
        make_durable(data_dir, QUARANTINE, *([f"{QUARANTINE}/{below}"] * bool(below)))
        if sum(1 for _ in folder.iterdir()) >= _MOST:
            return False
        names = (f".{number}" if number else "" for number in itertools.count())
        # One of the same name, from another time, may hold other bytes.
        target = next(
            one
            for one in (folder / f"{name or path.name}{end}" for end in names)
            if not one.is_symlink() and not one.exists()
        )
        (data_dir / path).rename(target)
        sync_path(folder)
    except OSError:
        return False
    return True


def count_quarantined(data_dir: Path) -> int:
    """Return how many files are set aside, without what lies in folders there."""
    found = (data_dir / QUARANTINE).glob("*")
    return sum(1 for one in found if one.is_symlink() or not one.is_dir())
