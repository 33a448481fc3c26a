"""REST: the frames of a series, and the regions on them."""

from __future__ import annotations

import gzip
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response

from dicom_node.errors import ObjectError
from dicom_node.web.access import address_of, is_loopback, require
from dicom_node.web.answers_study import CorrectionFrame, RegionPixels
from dicom_node.web.encodings import takes_gzip
from dicom_node.web.parts import Parts
from dicom_node.web.problems import PROBLEMS
from dicom_node.web.shown import find_outline, find_results, series_document

__all__ = ["ResultsName", "Uid", "make_images_router"]

Uid = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$")]
"""A UID in a path, PS3.5 9.1."""

ResultsName = Annotated[
    str | None,
    Query(
        max_length=64,
        description="`shown_results` of the study; with others shown by now the "
        "answer is 409, else it never changes",
    ),
]
"""Results that a number of a series belongs to."""

_A_DAY_S = 86_400


def make_images_router() -> APIRouter:
    """Make the routes of pixels."""
    router = APIRouter(
        tags=["images"],
        responses=PROBLEMS,
        dependencies=[Depends(require("viewer"))],
    )

    @router.get(
        "/studies/{uid}/series/{index}/frames/{frame}",
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    def frame(
        parts: Parts,
        request: Request,
        uid: Uid,
        index: Annotated[int, Path(ge=0)],
        frame: Annotated[int, Path(ge=0)],
        v: ResultsName = None,
    ) -> Response:
        """Return a frame: rows, then columns; int16 in little endian, or 8 bits.

        `frame` counts from 0. The header `X-Value-Range` tells the lowest and the
        highest value. `index` counts the series of the results that are shown.
        """
        version = find_results(parts, uid, v)
        shown = parts.series.find(parts, version, index)
        if frame >= len(shown.series.frames):
            raise HTTPException(404, "the series has no such frame")
        found = parts.frames.frame(shown, frame)
        etag = f'"{found.etag}"'
        headers = {
            "Cache-Control": _how_long(v),
            "ETag": etag,
            "Vary": "Accept-Encoding, Cookie, Authorization",
            "X-Value-Range": f"{found.low:g},{found.high:g}",
        }
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        data = found.data
        if _is_worth_packing(request):
            data = gzip.compress(data, compresslevel=1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Response(data, headers=headers, media_type="application/octet-stream")

    @router.get("/studies/{uid}/regions/{tracking_uid}")
    def region(
        parts: Parts,
        response: Response,
        uid: Uid,
        tracking_uid: Uid,
        v: ResultsName = None,
    ) -> RegionPixels:
        """Return a region as its segmentation holds it."""
        version = find_results(parts, uid, v)
        outline = find_outline(parts, version, tracking_uid)
        series = series_document(parts, version, outline["series"])
        segment = outline["seg"]
        if segment is None:
            raise HTTPException(404, "the region has no segmentation")
        row = parts.store.details.find_result(uid, segment["sop_instance_uid"])
        if row is None:
            raise HTTPException(404, "the segmentation is not here")
        try:
            drawn = parts.segments.frames(
                parts.data_dir / row.path, segment["segment_number"]
            )
        except ObjectError as error:
            raise HTTPException(404, str(error)) from error
        response.headers["Cache-Control"] = _how_long(v)
        response.headers["Vary"] = "Accept-Encoding, Cookie, Authorization"
        places = {
            (sop_uid, number): place
            for place, (sop_uid, number) in enumerate(series["frames"])
        }
        return RegionPixels(
            rows=series["rows"],
            columns=series["columns"],
            frames=sorted(
                (
                    CorrectionFrame(
                        frame=places[one.sop_instance_uid, one.frame_number],
                        runs=list(one.runs),
                    )
                    for one in drawn
                ),
                key=lambda one: one.frame,
            ),
        )

    return router


def _how_long(name: str | None) -> str:
    kept = f"max-age={_A_DAY_S}, immutable" if name else "no-cache"
    return f"private, {kept}"


def _is_worth_packing(request: Request) -> bool:
    # Within a machine packing takes longer than sending.
    return takes_gzip(request) and not is_loopback(address_of(request))
