"""The routes of QIDO-RS, WADO-RS and STOW-RS below ``/dicom-web`` (PS3.18 10).

Files are read and frames decoded in threads; answers stream as fast as the client
takes them, and a body is read as fast as the disk does.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from dicom_node.dicomweb.frames import parse_frame_list
from dicom_node.dicomweb.library import Place
from dicom_node.dicomweb.media import (
    Form,
    choose_dicom,
    choose_frames,
    choose_json,
    choose_octets,
    choose_picture,
)
from dicom_node.dicomweb.multipart import Part, new_boundary, write_multipart
from dicom_node.dicomweb.query import parse_query
from dicom_node.dicomweb.receiving import StowRequest, read_content_type
from dicom_node.dicomweb.render import parse_options
from dicom_node.dicomweb.search import KNOWN, Found
from dicom_node.dicomweb.service import DicomwebService
from dicom_node.errors import DicomwebError
from dicom_node.web.encodings import takes_gzip

__all__ = ["DICOMWEB_PATH", "make_router"]

DICOMWEB_PATH = "/dicom-web"

_STUDY = "/studies/{study_instance_uid}"
_SERIES = f"{_STUDY}/series/{{series_instance_uid}}"
_INSTANCE = f"{_SERIES}/instances/{{sop_instance_uid}}"
_PLACES = (_INSTANCE, _SERIES, _STUDY)
_LEVELS = {
    "/studies": "studies",
    "/series": "series",
    "/instances": "instances",
    f"{_STUDY}/series": "series",
    f"{_STUDY}/instances": "instances",
    f"{_SERIES}/instances": "instances",
}
_WARNING = '299 dicom-node "{}"'
_LEFT_OUT = "instances that cannot be read are left out"
_UPLOADS = 8
"""Bodies that are received at once, each in a thread of its own."""

_DEFAULT_SENDER = "STOW-RS"
_THUMBNAIL = (128, 128)


class _Route(APIRoute):
    """A route whose DICOMweb errors become answers."""

    def get_route_handler(
        self,
    ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except DicomwebError as error:
                # Nobody reads the rest of a refused body: hang up on it.
                headers = {"Connection": "close"} if request.method == "POST" else None
                raise HTTPException(error.status, str(error), headers) from error

        return handle


def make_router(
    service: DicomwebService,
    *,
    viewer: Callable[..., Any],
    sender: Callable[..., Any],
) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    service : DicomwebService
        What answers.
    viewer, sender : callable
        FastAPI dependencies that let pass who may see and who may store, and return
        who it is (``name``).

    """
    # PS3.18 documents these routes; the REST document leaves them out.
    router = APIRouter(
        prefix=DICOMWEB_PATH, route_class=_Route, include_in_schema=False
    )
    may_see = [Depends(viewer)]
    for path, level in _LEVELS.items():
        router.add_api_route(
            path,
            _searches(service, level),
            dependencies=may_see,
            response_class=Response,
        )
    retrieval = _Retrieval(service)
    # The longest come first: a path with more in it is no instance.
    answers: tuple[tuple[str, Callable[..., Any]], ...] = (
        (f"{_INSTANCE}/frames/{{frames}}/rendered", retrieval.rendered),
        (f"{_INSTANCE}/frames/{{frames}}", retrieval.frames),
        (f"{_INSTANCE}/bulkdata/{{value:path}}", retrieval.bulk),
        (f"{_INSTANCE}/rendered", retrieval.rendered),
        *((f"{one}/thumbnail", retrieval.thumbnail) for one in _PLACES),
        *((f"{one}/metadata", retrieval.metadata) for one in _PLACES),
        *((one, retrieval.instances) for one in _PLACES),
    )
    for path, answer in answers:
        router.add_api_route(
            path, answer, dependencies=may_see, response_class=Response
        )
    store = _stores(service, sender)
    for path in ("/studies", _STUDY):
        router.add_api_route(
            path,
            store,
            methods=["POST"],
            response_class=Response,
        )
    return router


def _searches(
    service: DicomwebService, level: str
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def search(request: Request) -> Response:
        media_type = choose_json(_accept(request))
        query = parse_query(request.query_params.multi_items(), known=KNOWN[level])
        root, place = _root(request, service), _place(request)

        def find() -> Found:
            if level == "studies":
                return service.searcher.studies(query, root=root)
            if level == "series":
                return service.searcher.series(query, place, root=root)
            return service.searcher.instances(query, place, root=root)

        found = await run_in_threadpool(find)
        # A header holds ASCII; a keyword is nothing else.
        headers = {"Warning": ", ".join(map(_WARNING.format, found.warnings))}
        if not found.warnings:
            headers = {}
        if not found.results:
            # PS3.18 Table 10.6.3-1; OHIF and dicomweb-client take it as none.
            return Response(status_code=204, headers=headers)
        text = json.dumps(found.results, ensure_ascii=False, separators=(",", ":"))
        return _json(request, iter([text.encode()]), media_type, headers=headers)

    return search


class _Retrieval:
    """The answers of WADO-RS."""

    def __init__(self, service: DicomwebService) -> None:
        self._service = service

    async def instances(self, request: Request) -> Response:
        place, root = _place(request), _root(request, self._service)
        form, syntaxes = choose_dicom(
            _accept(request), allows_single=place.sop_instance_uid is not None
        )
        found = await run_in_threadpool(self._service.library.instances, place)
        if syntaxes and not {one.transfer_syntax_uid for one in found} <= syntaxes:
            msg = "instances are given in the transfer syntax that they are stored in"
            raise DicomwebError(msg, status=406)
        return _parts(form, self._service.dicom_parts(found, root=root))

    async def metadata(self, request: Request) -> Response:
        media_type = choose_json(_accept(request))
        root, place = _root(request, self._service), _place(request)
        found = await run_in_threadpool(self._service.library.instances, place)
        blocks = self._service.metadata_blocks(found, root=root)
        # What cannot be read at once is told with a status of its own, or a header.
        first, left_out = await run_in_threadpool(next, blocks)
        headers = {"Warning": _WARNING.format(_LEFT_OUT)} if left_out else None
        rest = (block for block, _ in blocks)
        return _json(request, chain([first], rest), media_type, headers=headers)

    async def frames(self, request: Request, frames: str) -> Response:
        numbers = parse_frame_list(frames)
        place = _place(request)
        url = f"{_root(request, self._service)}{place.path}/frames"
        service = self._service

        def prepare() -> tuple[Form, Iterator[Part]]:
            layout = service.layout(service.library.instance(place))
            for number in numbers:
                if not 1 <= number <= layout.frames:
                    raise DicomwebError(f"there is no frame {number}", status=404)
            form = choose_frames(
                _accept(request),
                layout.transfer_syntax_uid,
                is_native=not layout.is_encapsulated,
                is_one=len(numbers) == 1,
            )
            made = (
                Part(
                    form.content_type,
                    [service.frame(layout, number, form=form)],
                    f"{url}/{number}",
                )
                for number in numbers
            )
            return form, chain([next(made)], made)

        form, parts = await run_in_threadpool(prepare)
        return _parts(form, parts)

    async def bulk(self, request: Request, value: str) -> Response:
        accept, place = _accept(request), _place(request)
        url = f"{_root(request, self._service)}{place.path}/bulkdata/{value}"
        service = self._service

        def prepare() -> tuple[Form, Iterator[Part]]:
            # A client that takes neither form learns it before a file is read.
            choose_octets(accept)
            parts = service.bulk_parts(service.library.instance(place), value, url=url)
            first = list(islice(parts, 2))
            form = choose_octets(accept, is_one=len(first) == 1)
            return form, chain(first, parts)

        form, parts = await run_in_threadpool(prepare)
        return _parts(form, parts)

    async def rendered(self, request: Request, frames: str = "1") -> Response:
        return await self._picture(request, frames, viewport=None)

    async def thumbnail(self, request: Request) -> Response:
        return await self._picture(request, "1", viewport=_THUMBNAIL)

    async def _picture(
        self, request: Request, frames: str, *, viewport: tuple[int, int] | None
    ) -> Response:
        numbers = parse_frame_list(frames)
        if len(numbers) != 1:
            raise DicomwebError("a picture shows one frame", status=400)
        values = request.query_params
        options = parse_options(
            window=values.get("window"),
            viewport=values.get("viewport"),
            quality=values.get("quality"),
        )
        if options.viewport is None:
            options = replace(options, viewport=viewport)
        media_type = choose_picture(values.get("accept", _accept(request)))
        place = _place(request)
        service = self._service

        def make() -> bytes:
            found = service.library.instances(place)
            return service.picture(
                found[len(found) // 2],
                numbers[0],
                options=options,
                media_type=media_type,
            )

        return Response(await run_in_threadpool(make), media_type=media_type)


def _stores(
    service: DicomwebService, sender: Callable[..., Any]
) -> Callable[..., Coroutine[Any, Any, Response]]:
    limiter = anyio.CapacityLimiter(_UPLOADS)
    limit = service.settings.web.max_upload_bytes
    who = Depends(sender)

    async def store(request: Request, person: Any = who) -> Response:
        media_type = choose_json(_accept(request))
        stow = StowRequest(
            boundary=read_content_type(request.headers.get("content-type", "")),
            sender=_sender(getattr(person, "name", None)),
            peer_address=request.client.host if request.client else "",
            study_instance_uid=_place(request).study_instance_uid,
            root=_root(request, service),
        )
        stream = request.stream()

        async def next_block() -> bytes | None:
            return await anext(stream, None)

        def blocks() -> Iterator[bytes]:
            # One thread receives the whole body, as one thread serves one
            # association: the assembler knows by it what is still coming.
            seen = 0
            while (block := anyio.from_thread.run(next_block)) is not None:
                seen += len(block)
                if seen > limit:
                    msg = f"the body has more than {limit} bytes"
                    raise DicomwebError(msg, status=413)
                yield block

        outcome = await anyio.to_thread.run_sync(
            lambda: service.store(blocks(), stow), limiter=limiter
        )
        return Response(
            json.dumps(outcome.to_json(stow), ensure_ascii=False),
            status_code=outcome.status,
            headers={"Content-Type": media_type},
        )

    return store


def _accept(request: Request) -> str:
    # A link in a page cannot set headers (PS3.18 8.3.3.1).
    return request.query_params.get("accept") or ",".join(
        request.headers.getlist("accept")
    )


def _place(request: Request) -> Place:
    return Place(
        **{name: uid for name, uid in request.path_params.items() if "uid" in name}
    )


def _root(request: Request, service: DicomwebService) -> str:
    url = request.base_url
    if service.settings.web.is_https:
        url = url.replace(scheme="https")
    return str(url).rstrip("/") + DICOMWEB_PATH


def _sender(name: str | None) -> str:
    printable = "".join(one for one in name or "" if one.isprintable() and one != "\\")
    return printable[:16] or _DEFAULT_SENDER


def _parts(form: Form, parts: Iterable[Part]) -> Response:
    if not form.is_multipart:
        (part,) = parts
        headers = {"Content-Type": part.content_type}
        if part.location is not None:
            headers["Content-Location"] = part.location
        return StreamingResponse(iter(part.blocks), headers=headers)
    boundary = new_boundary()
    kind = f'multipart/related; type="{form.media_type}"; boundary={boundary}'
    return StreamingResponse(
        write_multipart(parts, boundary=boundary), headers={"Content-Type": kind}
    )


def _json(
    request: Request,
    blocks: Iterable[bytes],
    media_type: str,
    *,
    headers: dict[str, str] | None = None,
) -> Response:
    # No charset: DICOM JSON is UTF-8, and clients compare the bare type.
    found = {"Content-Type": media_type, "Vary": "Accept-Encoding", **(headers or {})}
    if takes_gzip(request):
        found["Content-Encoding"] = "gzip"
        blocks = _gzip(blocks)
    return StreamingResponse(blocks, headers=found)


def _gzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: with gzip's own header
    for block in blocks:
        if packed := packer.compress(block):
            yield packed
    yield packer.flush()
