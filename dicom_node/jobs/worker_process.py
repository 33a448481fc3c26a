"""``dicom-node work``: a process that does jobs until it is told to end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import BinaryIO

import structlog

from dicom_node import __version__
from dicom_node.audit import configure_logging
from dicom_node.config import NodeSettings
from dicom_node.errors import SettingsError
from dicom_node.heap import keep_heap_small
from dicom_node.jobs.files import open_area
from dicom_node.jobs.worker import JobRunner, Worker
from dicom_node.jobs.worker_door import WorkerDoor
from dicom_node.private_memory import keep_memory_private
from dicom_node.store.job_claims import JobClaims
from dicom_node.workflows import PipelineProcessor

__all__ = ["own_folder", "run_worker"]

_LOOK_S = 0.2
_STOP_GRACE_S = 10.0
"""What is being done when the process is told to end is given back within this time;
else its lease lapses."""

_WORKERS = "workers"
"""Folder below the data folder: the images that are kept, and one for each worker."""

log = structlog.get_logger(__name__)


def run_worker(
    settings: NodeSettings,
    *,
    listen: tuple[str, int] | None = None,
    runner: JobRunner | None = None,
) -> None:
    """Do jobs until SIGTERM or SIGINT.

    Parameters
    ----------
    settings : NodeSettings
        Database, place for files and models.
    listen : tuple of str and int, optional
        Address and port of health and metrics.
    runner : JobRunner, optional
        Does the jobs; the pipeline with the configured models when absent.

    Raises
    ------
    SettingsError
        They cannot be used, or the node has another version.
    StoreError
        The database could not answer.

    """
    asked: SimpleQueue[int] = SimpleQueue()

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.put(number)

    keep_memory_private()
    keep_heap_small()
    configure_logging(level=settings.node.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    workers = settings.workers
    name = f"{socket.gethostname()[:100]}:{os.getpid()}"
    claims = JobClaims(settings.database_url, name, lease_s=workers.lease_s)
    claims.check()
    with own_folder(settings) as folder:
        area = open_area(
            workers,
            data_dir=settings.node.data_dir,
            cache_dir=folder.parent / "images" if workers.files_url else None,
        )
        node = settings.node.model_copy(update={"data_dir": folder})
        worker = Worker(
            claims,
            area,
            runner or PipelineProcessor(settings.model_copy(update={"node": node})),
            models=(None, *(one.name for one in settings.models)),
            lease_s=workers.lease_s,
            folder=folder,
        )
        with WorkerDoor(worker, listen):
            thread = threading.Thread(target=worker.run, name="worker", daemon=True)
            thread.start()
            log.info("worker_started", version=__version__, worker=name)
            while asked.empty() and thread.is_alive():
                time.sleep(_LOOK_S)
            has_failed = asked.empty()  # nobody asked for its end
            log.info("worker_stopping")
            worker.stop()
            thread.join(_STOP_GRACE_S)
        is_ended = not thread.is_alive()
    claims.close()
    log.info("worker_stopped", in_order=is_ended and not has_failed)
    # A thread of a library that waits would hold the process.
    os._exit(1 if has_failed else 0)


@contextmanager
def own_folder(settings: NodeSettings) -> Iterator[Path]:
    """Make a folder for this process alone, and remove those of processes that ended.

    Where the data folder is shared with the node it lies on this host all the same:
    what goes from process to process does not cross the network.

    Parameters
    ----------
    settings : NodeSettings
        The data folder, and whether it is the worker's own.

    Raises
    ------
    SettingsError
        Somebody else made the folder above it.

    """
    if settings.workers.files_url:
        parent = settings.node.data_dir.resolve() / _WORKERS
    else:
        parent = Path(tempfile.gettempdir(), f"dicom-node-work-{os.getuid()}")
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    owned = parent.lstat()
    if not stat.S_ISDIR(owned.st_mode) or owned.st_uid != os.getuid():
        # Below a folder that everybody may write to, somebody may have been first.
        raise SettingsError(f"{parent}: another user made it; set TMPDIR")
    parent.chmod(0o700)
    for one in parent.glob("*.lock"):
        with contextlib.suppress(OSError), one.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(one.with_suffix(""), ignore_errors=True)
            one.unlink(missing_ok=True)
    folder, lock = _take_folder(parent)
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)


def _take_folder(parent: Path) -> tuple[Path, BinaryIO]:
    """Make a folder, and hold its lock while the file is open."""
    while True:
        folder = parent / secrets.token_hex(8)
        path = folder.with_suffix(".lock")
        lock = path.open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            folder.mkdir(mode=0o700)
            return folder, lock
        # Another process that starts took it for one that was left.
        lock.close()
