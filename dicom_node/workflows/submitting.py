"""Work is queued under its name, once, and can be brought forward."""

from __future__ import annotations

from collections.abc import Callable

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import StoreError
from dicom_node.rules import PRIORITIES
from dicom_node.workflows.engine import first_id, newest, next_id

__all__ = ["CRASHED", "PROCESS_QUEUE", "hurry", "submit"]

PROCESS_QUEUE = "process"
"""Where versions wait for the worker."""

CRASHED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
"""The state of a workflow that ended the process again and again."""

_ACTIVE = frozenset({"PENDING", "ENQUEUED", "DELAYED"})


def submit(
    name: str,
    queue: str,
    workflow: Callable[..., None],
    *arguments: int | str,
    priority: int = PRIORITIES["normal"],
    delay_s: float = 0.0,
) -> str:
    """Queue work unless it is queued.

    Work that is undone though its workflow has ended (the database was away at the
    last moment) gets another workflow.

    Parameters
    ----------
    name : str
        Names the work; every workflow for it has this name and a number.
    queue : str
        Where it waits.
    workflow : callable
        Does it.
    *arguments : int or str
        What it is called with.
    priority : int
        The lower goes first.
    delay_s : float
        How long it waits at least.

    Returns
    -------
    str
        The state of its workflow.

    Raises
    ------
    StoreError
        The workflow database could not answer.

    """
    try:
        known = newest(name)
        if known is not None and known.status in {*_ACTIVE, CRASHED}:
            return str(known.status)
        workflow_id = first_id(name) if known is None else next_id(known.workflow_id)
        options = SetEnqueueOptions(priority=priority, delay_seconds=delay_s or None)
        with SetWorkflowID(workflow_id), options:
            DBOS.enqueue_workflow(queue, workflow, *arguments)
    except (SQLAlchemyError, dbos_error.DBOSException) as error:
        msg = f"the work could not be queued ({type(error).__name__})"
        raise StoreError(msg) from error
    return "ENQUEUED"


def hurry(name: str) -> None:
    """Let work that waits for its time begin at once."""
    found = newest(name)
    if found is not None:
        DBOS.set_workflow_delay(found.workflow_id, delay_seconds=0.0)
