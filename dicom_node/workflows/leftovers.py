"""What an interrupted run of a study left: removed before the next one begins."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from dicom_node.audit import EventKind
from dicom_node.spool.quarantine import set_aside
from dicom_node.store import Store
from dicom_node.workflows.names import folder_name
from dicom_node.workflows.processing import RESULTS, UNFINISHED

__all__ = ["remove_unfinished"]

log = structlog.get_logger(__name__)


def remove_unfinished(data_dir: Path, store: Store) -> int:
    """Delete results that never became whole, or that no row names; return how many.

    To be called while nothing is processed: what is whole gets its name just before
    its rows, and what it replaces loses them just before its name.

    Results of versions that this database has never heard of are not deleted but set
    aside: it is not the one that they were made with, or a copy from before.

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
    named = store.work.named_results([f"{RESULTS}/{one.name}" for one in results])
    unnamed = [one for one in results if f"{RESULTS}/{one.name}" not in named]
    if unnamed:
        runs = {folder_name(key) for key in store.work.runs()}
        ours = [one for one in unnamed if one.name.partition(".")[0] in runs]
        folders += ours
        _set_aside(data_dir, store, [one for one in unnamed if one not in ours])
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)


def _set_aside(data_dir: Path, store: Store, folders: list[Path]) -> None:
    if not folders:
        return
    moved = sum(
        set_aside(data_dir, Path(RESULTS, one.name), below=RESULTS) for one in folders
    )
    log.error("results_unknown", set_aside=moved, left=len(folders) - moved)
    store.record_event(
        EventKind.FILE_QUARANTINED,
        detail={
            "reason": "results of versions that this database does not know",
            "set_aside": moved,
            "left": len(folders) - moved,
        },
    )
