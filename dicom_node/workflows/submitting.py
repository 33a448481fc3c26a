"""Work is queued under its name, once, and can be brought forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import StoreError
from dicom_node.rules import PRIORITIES
from dicom_node.workflows.engine import first_id, name_of, newest, next_id
from dicom_node.workflows.order import FIRST
from dicom_node.workflows.watching import ring

__all__ = [
    "CRASHED",
    "PROCESS_QUEUE",
    "forget_ended",
    "has_queued",
    "hurry",
    "queued_names",
    "submit",
]

PROCESS_QUEUE = "process"
"""Where versions wait for the worker; see `lanes` for those of few pictures."""

CRASHED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
"""The state of a workflow that ended the process again and again."""

_WAITING = frozenset({"ENQUEUED", "DELAYED"})
_ACTIVE = _WAITING | {"PENDING"}

_ENDED = ["SUCCESS", "ERROR", "CANCELLED"]
"""Not `CRASHED`: that such work is not to be tried again is known by its row alone."""

_AT_ONCE = 1000
"""Workflows that are forgotten in one transaction."""


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
            if priority != FIRST or known.status not in _WAITING:
                return str(known.status)
            if known.priority == FIRST:
                return str(known.status)
            # A place is fixed: who is asked for gives it up for the first. If it has
            # begun meanwhile, doing it twice changes nothing.
            DBOS.cancel_workflow(known.workflow_id)
        workflow_id = first_id(name) if known is None else next_id(known.workflow_id)
        options = SetEnqueueOptions(priority=priority, delay_seconds=delay_s or None)
        with SetWorkflowID(workflow_id), options:
            DBOS.enqueue_workflow(queue, workflow, *arguments)
    except (SQLAlchemyError, dbos_error.DBOSException) as error:
        msg = f"the work could not be queued ({type(error).__name__})"
        raise StoreError(msg) from error
    ring()
    return "ENQUEUED"


def hurry(name: str) -> None:
    """Let work that waits for its time begin at once."""
    found = newest(name)
    if found is not None:
        DBOS.set_workflow_delay(found.workflow_id, delay_seconds=0.0)
        ring()


def queued_names() -> frozenset[str]:
    """Return the names of all work that waits in a queue, or is being done.

    Raises
    ------
    StoreError
        The workflow database could not answer.

    """
    try:
        active = DBOS.list_workflows(
            status=sorted(_ACTIVE), load_input=False, load_output=False
        )
    except (SQLAlchemyError, dbos_error.DBOSException) as error:
        msg = f"the queues could not be read ({type(error).__name__})"
        raise StoreError(msg) from error
    return frozenset(name_of(one.workflow_id) for one in active)


def has_queued(queue: str, *, until: int) -> bool:
    """Return whether work waits in a queue whose place is at most ``until``.

    Raises
    ------
    StoreError
        The workflow database could not answer.

    """
    try:
        return any(
            0 < one.priority <= until
            for one in DBOS.list_queued_workflows(
                queue_name=queue, status="ENQUEUED", load_input=False
            )
            if one.priority is not None
        )
    except (SQLAlchemyError, dbos_error.DBOSException) as error:
        msg = f"the queue could not be read ({type(error).__name__})"
        raise StoreError(msg) from error


def forget_ended(*, before: datetime) -> int:
    """Delete the rows of workflows that ended long ago; return how many, at most 1000.

    What is undone is known from the store, never from these rows: work that is queued
    again under the name of one that is forgotten finds that it is done.

    Parameters
    ----------
    before : datetime
        What ended later stays, as does what has not ended.

    Raises
    ------
    StoreError
        The workflow database could not answer.

    """
    try:
        ended = DBOS.list_workflows(
            status=_ENDED,
            completed_before=before.isoformat(),
            limit=_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if ended:
            DBOS.delete_workflows([one.workflow_id for one in ended])
    except (SQLAlchemyError, dbos_error.DBOSException) as error:
        msg = f"old work could not be forgotten ({type(error).__name__})"
        raise StoreError(msg) from error
    return len(ended)
