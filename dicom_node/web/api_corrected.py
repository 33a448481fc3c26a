"""REST: the corrected result as DICOM."""

from __future__ import annotations

import io
import zipfile
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response

from dicom_node.errors import AccessError
from dicom_node.web.access import Viewer, require
from dicom_node.web.api_images import Uid
from dicom_node.web.corrected import REPORT_FILE, CorrectedFiles
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS

__all__ = ["make_corrected_router"]

_Version = Annotated[str | None, Query(pattern="^[0-9a-f]{1,64}$")]
"""Content version whose corrections are meant; the newest with results if absent."""

_DICOM: dict[int | str, dict[str, Any]] = {200: {"content": {"application/dicom": {}}}}


def make_corrected_router() -> APIRouter:
    """Make the routes by which corrected results are fetched."""
    router = APIRouter(tags=["corrections"], responses=PROBLEMS)
    viewer = Depends(require("viewer"))

    @router.get(
        "/studies/{uid}/corrections/report.dcm",
        response_class=Response,
        responses=_DICOM,
    )
    def report(
        parts: Parts,
        person: Viewer,
        uid: Uid,
        verify: bool = False,
        content_version: _Version = None,
    ) -> Response:
        """Return the report with what people said of its regions.

        With ``verify=true`` whoever asks becomes its verifying observer: only an
        editor who made all of the newest corrections may.
        """
        if verify and not person.may("editor"):
            raise AccessError("only an editor can verify a report", status=403)
        found = parts.corrected.find(
            parts,
            uid,
            content_version=content_version,
            verified_by=person if verify else None,
        )
        return _file(found, REPORT_FILE, "application/dicom")

    @router.get(
        "/studies/{uid}/corrections/segmentation-{number}.dcm",
        dependencies=[viewer],
        response_class=Response,
        responses=_DICOM,
    )
    def segmentation(
        parts: Parts,
        uid: Uid,
        number: Annotated[int, Path(ge=1, le=9999)],
        content_version: _Version = None,
    ) -> Response:
        """Return a segmentation of the regions that people drew, counted from 1."""
        found = parts.corrected.find(parts, uid, content_version=content_version)
        return _file(found, f"segmentation-{number}.dcm", "application/dicom")

    @router.get(
        "/studies/{uid}/corrections/result.zip",
        dependencies=[viewer],
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}}},
    )
    def result_zip(
        parts: Parts, uid: Uid, content_version: _Version = None
    ) -> Response:
        """Return the corrected report and its segmentations as one zip file."""
        found = parts.corrected.find(parts, uid, content_version=content_version)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(found.files.items()):
                # The moment of writing stays out: the same result, the same bytes.
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)
        name = f"{found.report_uid}.zip"
        return _answer(stream.getvalue(), name, "application/zip")

    return router


def _file(found: CorrectedFiles, name: str, media_type: str) -> Response:
    if name not in found.files:
        raise HTTPException(404, "nobody drew so many segmentations")
    return _answer(found.files[name], name, media_type)


def _answer(data: bytes, name: str, media_type: str) -> Response:
    return Response(
        data,
        media_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        },
    )
