"""REST: the reports that wait for their study, and how an administrator ends that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from starlette.exceptions import HTTPException

from dicom_node.errors import ReportError
from dicom_node.web.access import Admin, require
from dicom_node.web.answers_operations import WaitingReport, WaitingReports
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS

__all__ = ["make_reports_router"]

_Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


def make_reports_router() -> APIRouter:
    """Make the routes of waiting reports."""
    router = APIRouter(tags=["operations"], responses=PROBLEMS)

    @router.get("/reports/waiting", dependencies=[Depends(require("admin"))])
    def waiting(parts: Parts) -> WaitingReports:
        """List the newest hundred; nothing that they say is told."""
        reports = parts.store.reports
        return WaitingReports(
            total=reports.count_waiting(),
            reports=[
                WaitingReport(
                    report_id=one.report_id,
                    received_at=one.received_at,
                    channel=one.channel,
                    sender=one.sender,
                    status=one.status,
                    study_instance_uid=one.study_instance_uid,
                )
                for one in reports.waiting(100)
            ],
        )

    @router.delete("/reports/waiting/{number}", status_code=204)
    def forget(parts: Parts, person: Admin, number: _Number) -> Response:
        """Delete a report that waits; its study, if it comes, comes without it."""
        try:
            parts.store.reports.forget_waiting(
                number, by=person.name or "", now=parts.now()
            )
        except ReportError as error:
            raise HTTPException(404, str(error)) from error
        return Response(status_code=204)

    return router
