"""REST: how the node is, what an operator switches, what the rules say."""

from __future__ import annotations

import shutil
import threading
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from dicom_node import __version__
from dicom_node.rules import try_rules
from dicom_node.scratch import scratch_folder
from dicom_node.store import DeliveryState, VersionState
from dicom_node.store.switches import DRAINING, PAUSED
from dicom_node.web.access import Admin, require
from dicom_node.web.answers_operations import (
    AssociationNumbers,
    DestinationAnswer,
    DiskAnswer,
    ErrorAnswer,
    ModelState,
    Operations,
    Queue,
    RuleStepAnswer,
    RuleTest,
)
from dicom_node.web.parts import Parts, WebParts
from dicom_node.web.problems import PROBLEMS
from dicom_node.web.uploads import uploaded_file

__all__ = ["make_operations_router"]

_TRIED_BYTES = 64 << 20
"""The beginning of a file that the rules are tried on: what they speak of comes before
the pixels."""

_TRIALS = 2
"""Files that are tried at once."""

_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


class Pause(BaseModel):
    """Whether studies wait."""

    model_config = ConfigDict(extra="forbid")

    paused: bool


class Drain(BaseModel):
    """Whether new associations are refused while work goes on."""

    model_config = ConfigDict(extra="forbid")

    draining: bool


def make_operations_router() -> APIRouter:
    """Make the routes of who operates the node."""
    router = APIRouter(tags=["operations"], responses=PROBLEMS)
    viewer = Depends(require("viewer"))

    @router.get("/operations.json", dependencies=[viewer])
    def operations(parts: Parts) -> Operations:
        """Say how the node is."""
        return _operations(parts)

    @router.post("/operations/pause")
    def pause(parts: Parts, person: Admin, said: Pause) -> Pause:
        """Stop or go on with processing; receiving and delivering go on."""
        parts.store.switches.set(PAUSED, said.paused, by=person.name or "")
        return said

    @router.post("/operations/drain")
    def drain(parts: Parts, person: Admin, said: Drain) -> Drain:
        """Refuse new associations, or accept them again; work goes on."""
        parts.store.switches.set(DRAINING, said.draining, by=person.name or "")
        return said

    trials = threading.BoundedSemaphore(_TRIALS)

    @router.post("/rules/test", dependencies=[viewer], openapi_extra=_FILE)
    async def rule_test(parts: Parts, request: Request) -> RuleTest:
        """Say what the rules make of a DICOM file; it is not kept."""
        if not trials.acquire(blocking=False):
            raise HTTPException(503, "others are trying rules; try again")
        try:
            async with uploaded_file(
                request, folder=scratch_folder(parts.data_dir), most_bytes=_TRIED_BYTES
            ) as path:
                trial = await run_in_threadpool(try_rules, [path], parts.settings.rules)
        finally:
            trials.release()
        made = trial.decision
        return RuleTest(
            rule=made.rule,
            action="process" if made.is_processed else "ignore",
            model=made.model,
            priority=made.priority,
            off_peak=made.is_off_peak,
            trace=[
                RuleStepAnswer(
                    rule=one.rule,
                    when=one.when,
                    matched=one.is_match,
                    error=one.trouble,
                )
                for one in trial.steps
            ],
            tags=dict(trial.tags[0]),
        )

    @router.get(
        "/changes",
        dependencies=[viewer],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def changes(parts: Parts) -> StreamingResponse:
        """Tell what changes, as server-sent events.

        Each is `{"study_instance_uid": ..., "kind": ...}`.
        """
        page = parts.changes.open()
        return StreamingResponse(
            parts.changes.stream(page),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return router


def _operations(parts: WebParts) -> Operations:
    report = parts.examine()
    details, switches = parts.store.details, parts.store.switches.all()
    versions = details.version_counts()
    off_peak = [one.name for one in parts.settings.rules if one.off_peak]
    disk = shutil.disk_usage(parts.data_dir)
    numbers = parts.node()
    now = parts.now()
    return Operations(
        version=__version__,
        uptime_s=round((now - numbers.started_at).total_seconds(), 1),
        ready=report.is_ready,
        checks={name: report.problems.get(name, "ok") for name in report.checks},
        queue=Queue(
            waiting=versions.get(VersionState.READY, 0),
            processing=versions.get(VersionState.PROCESSING, 0),
            is_paused=bool(switches.get(PAUSED, False)),
            is_draining=bool(switches.get(DRAINING, False)),
            off_peak=details.count_ready(off_peak),
        ),
        destinations=_destinations(parts),
        disk=DiskAnswer(free_bytes=disk.free, total_bytes=disk.total),
        model=ModelState(
            name=None if numbers.model is None else numbers.model.name,
            version=None if numbers.model is None else numbers.model.version,
            sha256=None if numbers.model is None else numbers.model.sha256,
            device=parts.settings.model.device,
            is_loaded=numbers.model_trouble is None,
            trouble=numbers.model_trouble,
        ),
        associations=AssociationNumbers(
            open=numbers.associations_open,
            accepted=numbers.associations_accepted,
            rejected=numbers.associations_rejected,
        ),
        waiting_reports=parts.store.reports.count_waiting(),
        recent_errors=[
            ErrorAnswer(
                at=one.at, kind=one.kind, subject=one.subject, reason=one.reason
            )
            for one in parts.store.snapshot(limit=1).errors
        ],
    )


def _destinations(parts: WebParts) -> list[DestinationAnswer]:
    configured = {one.name: one for one in parts.settings.destinations}
    known = {one.name: one for one in parts.store.details.destinations()}
    found = []
    for name in dict.fromkeys((*configured, *known)):
        settings, numbers = configured.get(name), known.get(name)
        counts = {} if numbers is None else numbers.counts
        found.append(
            DestinationAnswer(
                name=name,
                kind=None if settings is None else settings.kind,
                profile=None if settings is None else settings.profile,
                delivered=counts.get(DeliveryState.DELIVERED, 0),
                stored=counts.get(DeliveryState.STORED, 0),
                pending=counts.get(DeliveryState.PENDING, 0),
                dead=counts.get(DeliveryState.DEAD, 0),
                oldest_pending_at=None
                if numbers is None
                else numbers.oldest_pending_at,
            )
        )
    return found
