"""REST: where the time of a study went, to be shown and as a trace."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, HTTPException
from starlette.responses import JSONResponse

from dicom_node.timeline import (
    VersionMoments,
    chrome_trace,
    make_spans,
    seconds_to_result,
)
from dicom_node.web.access import require
from dicom_node.web.answers import Answer
from dicom_node.web.api_images import Uid
from dicom_node.web.parts import Parts, WebParts
from dicom_node.web.problems import PROBLEMS

__all__ = ["make_timeline_router"]


class SpanAnswer(Answer):
    """What was going on from one moment to another."""

    name: str
    track: str
    """``study``, ``processing``, or ``to`` and a destination's name."""
    begin: datetime
    end: datetime
    seconds: float
    is_open: bool
    """It still goes on; ``end`` is now."""


class VersionTimeline(Answer):
    """Where the time of a content version went."""

    content_version: str
    state: str
    instances: int
    """How many it added to the version before."""
    seconds_to_result: float | None
    """From the last instance to the last result that a destination took."""
    spans: list[SpanAnswer]


class StudyTimeline(Answer):
    """Where the time of a study went, the newest version first."""

    study_instance_uid: str
    versions: list[VersionTimeline]


def make_timeline_router() -> APIRouter:
    """Make the routes of timelines."""
    router = APIRouter(
        tags=["studies"],
        responses=PROBLEMS,
        dependencies=[Depends(require("viewer"))],
    )

    @router.get("/studies/{uid}/timeline")
    def timeline(parts: Parts, uid: Uid) -> StudyTimeline:
        """Return when each stage of a study began and ended."""
        now = parts.now()
        return StudyTimeline(
            study_instance_uid=uid,
            versions=[_version(one, now) for one in _moments(parts, uid)],
        )

    @router.get(
        "/studies/{uid}/trace.json",
        response_class=JSONResponse,
        responses={200: {"content": {"application/json": {}}}},
    )
    def trace(parts: Parts, uid: Uid) -> JSONResponse:
        """Return the same as a trace that Perfetto opens."""
        now = parts.now()
        document: dict[str, Any] = chrome_trace(
            (one, make_spans(one, now=now)) for one in _moments(parts, uid)
        )
        name = f'attachment; filename="{uid}.trace.json"'
        return JSONResponse(document, headers={"Content-Disposition": name})

    return router


def _moments(parts: WebParts, uid: str) -> tuple[VersionMoments, ...]:
    if parts.store.pages.study(uid) is None:
        raise HTTPException(404, "no such study was received")
    return parts.store.timeline.of_study(uid, data_dir=parts.data_dir)


def _version(moments: VersionMoments, now: datetime) -> VersionTimeline:
    return VersionTimeline(
        content_version=moments.content_version,
        state=moments.state,
        instances=moments.instances,
        seconds_to_result=seconds_to_result(moments),
        spans=[
            SpanAnswer(
                name=one.name,
                track=one.track,
                begin=one.begin,
                end=one.end,
                seconds=one.seconds,
                is_open=one.is_open,
            )
            for one in make_spans(moments, now=now)
        ],
    )
