"""The workflows as the engine knows them: which step follows which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

from dicom_node.workflows.engine import first_id, next_id, queue_of
from dicom_node.workflows.steps import Steps
from dicom_node.workflows.watching import ring

__all__ = ["Registered", "register"]

_RECOVERIES = 50
"""How often a workflow may be found unfinished at start. A study that ends the
process every time is then failed, and others go on. What sends is tried however often
it was cut off: the node's own results end no process."""


_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Registered:
    """The workflows that work is queued for."""

    process_version: Callable[..., None]
    deliver: Callable[..., None]
    commit: Callable[..., None]


def register(steps: Steps) -> Registered:
    """Tell the engine the workflows; it must not be launched yet.

    Parameters
    ----------
    steps : Steps
        What the workflows do.

    """

    # Functions made anew, so that the process can have one after another.
    @DBOS.workflow(name="process_version", max_recovery_attempts=_RECOVERIES)
    @_ringing
    def process_version(
        version_id: int, run: int, attempt: int = 0, began_at: str | None = None
    ) -> None:
        again = DBOS.run_step(
            {"name": "process"}, steps.process, version_id, run, attempt, began_at
        )
        if again is not None:
            # A workflow that slept would keep the others from the worker.
            with (
                SetWorkflowID(next_id(str(DBOS.workflow_id))),
                SetEnqueueOptions(
                    delay_seconds=again["delay_s"], priority=again["priority"]
                ),
            ):
                DBOS.enqueue_workflow(
                    again["queue"],
                    process_version,
                    version_id,
                    run,
                    again["attempt"],
                    again["began_at"],
                )
            return
        for study_id, destination, name in DBOS.run_step(
            {"name": "parcels"}, steps.new_parcels, version_id
        ):
            with SetWorkflowID(first_id(name)):
                DBOS.enqueue_workflow(
                    queue_of(destination), deliver, study_id, destination, name
                )

    @DBOS.workflow(name="deliver", max_recovery_attempts=None)
    @_ringing
    def deliver(study_id: int, destination: str, name: str) -> None:
        again = DBOS.run_step(
            {"name": "deliver"}, steps.deliver, study_id, destination, name
        )
        if again is not None:
            with (
                SetWorkflowID(first_id(again["name"])),
                SetEnqueueOptions(delay_seconds=again["delay_s"]),
            ):
                DBOS.enqueue_workflow(
                    queue_of(destination),
                    deliver,
                    study_id,
                    destination,
                    again["name"],
                )
        commit_later(
            DBOS.run_step(
                {"name": "stored"}, steps.next_commitments, study_id, destination
            ),
            study_id,
            destination,
        )

    @DBOS.workflow(name="commit", max_recovery_attempts=None)
    @_ringing
    def commit(study_id: int, destination: str, name: str) -> None:
        commit_later(
            DBOS.run_step(
                {"name": "commit"}, steps.commit, study_id, destination, name
            ),
            study_id,
            destination,
        )

    def commit_later(
        due: list[dict[str, Any]], study_id: int, destination: str
    ) -> None:
        for one in due:
            with (
                SetWorkflowID(first_id(one["name"])),
                SetEnqueueOptions(delay_seconds=one["delay_s"]),
            ):
                DBOS.enqueue_workflow(
                    queue_of(destination),
                    commit,
                    study_id,
                    destination,
                    one["name"],
                )

    return Registered(process_version, deliver, commit)


def _ringing(work: Callable[_P, None]) -> Callable[_P, None]:
    """Ring when work ends: it has made room in its queue, and may have queued more."""

    @wraps(work)
    def run(*arguments: _P.args, **options: _P.kwargs) -> None:
        try:
            work(*arguments, **options)
        finally:
            ring()

    return run
