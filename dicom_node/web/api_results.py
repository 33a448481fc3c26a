"""REST: one study: everything of it, its files, and asking for it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, StreamingResponse

from dicom_node.errors import ReportRefusedError
from dicom_node.inbox import ReportInbox
from dicom_node.records import IncomingReport, ReportChannel, ReportStatus
from dicom_node.web.access import Sender, require
from dicom_node.web.answers_study import StudyDetail
from dicom_node.web.api_images import Uid
from dicom_node.web.archive import zip_stream
from dicom_node.web.parts import Parts, WebParts
from dicom_node.web.problems import PROBLEMS
from dicom_node.web.shown import find_version
from dicom_node.web.study_detail import study_detail

__all__ = ["make_results_router"]

_JSON_FILES = ("result.json", "fhir.json")


class NewReport(BaseModel):
    """A report on a study."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: str
    status: ReportStatus = ReportStatus.FINAL
    identifier: Annotated[str, Field(min_length=1, max_length=128)] = "report"
    """Another text of the same person and study with the same one replaces it."""


class Accepted(BaseModel):
    """What became of a report: joined, waiting or duplicate."""

    outcome: str
    study_instance_uid: str | None


class Requeued(BaseModel):
    """What is done now, in words."""

    outcome: str


def make_results_router() -> APIRouter:
    """Make the routes of one study."""
    router = APIRouter(tags=["studies"], responses=PROBLEMS)
    viewer = Depends(require("viewer"))

    @router.get("/studies/{uid}", dependencies=[viewer])
    def detail(parts: Parts, uid: Uid) -> StudyDetail:
        """Return everything of a study, with its newest results."""
        row = parts.store.pages.study(uid)
        if row is None:
            raise HTTPException(404, "no such study was received")
        return study_detail(parts, row, parts.store.details.shown_version(uid))

    for name in _JSON_FILES:
        _add_json(router, name)

    @router.get(
        "/studies/{uid}/objects/{sop_instance_uid}",
        dependencies=[viewer],
        response_class=FileResponse,
        responses={200: {"content": {"application/dicom": {}}}},
    )
    def result_object(parts: Parts, uid: Uid, sop_instance_uid: Uid) -> FileResponse:
        """Return a result object as a DICOM file."""
        row = parts.store.details.find_result(uid, sop_instance_uid)
        if row is None or not (path := parts.data_dir / row.path).is_file():
            raise HTTPException(404, "the study has no such result")
        return FileResponse(
            path,
            media_type="application/dicom",
            filename=f"{sop_instance_uid}.dcm",
            headers={"Cache-Control": "no-store"},
        )

    @router.get(
        "/studies/{uid}/results.zip",
        dependencies=[viewer],
        response_class=StreamingResponse,
        responses={200: {"content": {"application/zip": {}}}},
    )
    def results_zip(parts: Parts, uid: Uid) -> StreamingResponse:
        """Return the newest results of a study as one zip file."""
        version = find_version(parts, uid)
        folder = parts.data_dir / version.result_dir
        files = [(name, folder / name) for name in _JSON_FILES]
        for row in parts.store.details.results(version.id):
            path = parts.data_dir / row.path
            name = Path(row.path).name
            if path.is_relative_to(folder):
                name = path.relative_to(folder).as_posix()
            files.append((name, path))
        return StreamingResponse(
            zip_stream(files),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{uid}.zip"'},
        )

    @router.post(
        "/studies/{uid}/requeue",
        status_code=202,
        dependencies=[Depends(require("editor"))],
    )
    def requeue(parts: Parts, uid: Uid) -> Requeued:
        """Process a study again, or try its undelivered results at once."""
        if parts.store.pages.study(uid) is None:
            raise HTTPException(404, "no such study was received")
        outcome = parts.store.requeue_study(
            uid,
            destinations={one.name: one.profile for one in parts.settings.destinations},
            now=parts.now(),
        )
        return Requeued(outcome=outcome.value)

    @router.post(
        "/studies/{uid}/report",
        status_code=202,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/json": {"schema": NewReport.model_json_schema()},
                },
            }
        },
    )
    async def report(
        parts: Parts, person: Sender, request: Request, uid: Uid
    ) -> Accepted:
        """Hand in a report: plain text, or JSON with its status."""
        content_type = request.headers.get("content-type", "")
        said = _parse_report(content_type, await request.body())
        receipt = await run_in_threadpool(
            ReportInbox(parts.store, clock=parts.now).accept,
            IncomingReport(
                text=said.text,
                channel=ReportChannel.REST,
                status=said.status,
                identifier=said.identifier,
                sender=person.name or "",
                received_at=parts.now(),
                study_instance_uid=uid,
            ),
        )
        return Accepted(
            outcome=receipt.outcome.value,
            study_instance_uid=receipt.study_instance_uid,
        )

    return router


def _add_json(router: APIRouter, name: str) -> None:
    @router.get(
        f"/studies/{{uid}}/{name}",
        name=name,
        dependencies=[Depends(require("viewer"))],
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}},
    )
    def answer(parts: Parts, uid: Uid) -> Response:
        """Return the newest results of a study, as they were written."""
        return Response(_read(parts, uid, name), media_type="application/json")


def _read(parts: WebParts, uid: str, name: str) -> bytes:
    version = find_version(parts, uid)
    try:
        return (parts.data_dir / version.result_dir / name).read_bytes()
    except OSError as error:
        raise HTTPException(404, f"the results have no {name}") from error


def _parse_report(content_type: str, body: bytes) -> NewReport:
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return NewReport.model_validate_json(body)
        if kind == "text/plain":
            return NewReport(text=body.decode("utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        # What is wrong with it may quote it.
        msg = "the report is not UTF-8, or not the JSON that is documented"
        raise ReportRefusedError(msg) from error
    raise HTTPException(415, "a report is text/plain or application/json")
