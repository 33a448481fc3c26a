"""Takes the beginning of an uploaded file into a file that has no name.

What lies in it is gone with the process, however that ends; nothing of a patient
stays behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from dicom_node.dicomweb.media import parse_media_type
from dicom_node.dicomweb.multipart import MultipartReader, PartBegin, PartData, PartEnd
from dicom_node.errors import DicomwebError

__all__ = ["uploaded_file"]


@asynccontextmanager
async def uploaded_file(
    request: Request, *, folder: Path, most_bytes: int
) -> AsyncIterator[Path]:
    """Keep the first file of a form while the context lasts.

    Parameters
    ----------
    request : Request
        Its body is multipart/form-data (RFC 7578); it is read to its end.
    folder : pathlib.Path
        On whose disk the file lies.
    most_bytes : int
        What comes after them is thrown away.

    Yields
    ------
    pathlib.Path
        Where this process can open the file.

    Raises
    ------
    HTTPException
        The body is no form, or has no file.

    """
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            is_there = await _take(request, file, most_bytes)
        except DicomwebError as error:
            raise HTTPException(error.status, str(error)) from error
        if not is_there:
            raise HTTPException(422, "file: Field required")
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


async def _take(request: Request, file: IO[bytes], most_bytes: int) -> bool:
    kind = parse_media_type(request.headers.get("content-type", ""))
    if kind.name != "multipart/form-data":
        raise DicomwebError("the body must be multipart/form-data", status=415)
    reader = MultipartReader(kind.parameters.get("boundary", ""))
    is_open = is_there = False
    left = most_bytes
    async for block in request.stream():
        for event in reader.feed(block):
            if isinstance(event, PartBegin):
                is_open = not is_there and _is_file(event.headers)
                is_there = is_there or is_open
            elif isinstance(event, PartData) and is_open and left > 0:
                await run_in_threadpool(file.write, event.data[:left])
                left -= len(event.data)
            elif isinstance(event, PartEnd):
                is_open = False
    reader.finish()
    return is_there


def _is_file(headers: Mapping[str, str]) -> bool:
    said = headers.get("content-disposition", "")
    try:
        # It is written like a media type, but for the slash.
        return "filename" in parse_media_type(f"form/{said}").parameters
    except DicomwebError:
        return False
