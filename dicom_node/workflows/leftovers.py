"""What an interrupted run of a study left: removed before the next one begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from dicom_node.store import Store
from dicom_node.workflows.processing import RESULTS, UNFINISHED

__all__ = ["remove_unfinished"]


def remove_unfinished(data_dir: Path, store: Store) -> int:
    """Delete results that never became whole, or that no row names; return how many.

    To be called while nothing is processed: what is whole gets its name just before
    its rows, and what it replaces loses them just before its name.

    Parameters
    ----------
    data_dir : pathlib.Path
        The data folder.
    store : Store
        What vouches for results.

    Raises
    ------
    StoreError
        The database could not answer.

    """
    folders = [*(data_dir / UNFINISHED).glob("*")]
    results = sorted((data_dir / RESULTS).glob("*"))
    named = store.named_results([f"{RESULTS}/{one.name}" for one in results])
    folders += [one for one in results if f"{RESULTS}/{one.name}" not in named]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)
