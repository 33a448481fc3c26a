"""Notes in the audit trail who reads which study, and who looks for studies.

It goes by the path of what was answered, so that no route can forget it; what is read
again and again is one event for some minutes (`store.accesses`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import structlog
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.audit import EventKind
from dicom_node.errors import StoreError
from dicom_node.store import Store
from dicom_node.web.origin import address_of

__all__ = ["Witness", "note_person"]

_SEEN = "dicom-node.witness"
"""Where a request's scope holds who was let in."""

_READS = frozenset({"GET", "HEAD"})
_NOT_MODIFIED = 304

_KEYWORD = re.compile(r"[A-Za-z0-9]{1,64}(\.[A-Za-z0-9]{1,64})*")
"""An attribute in a query: a keyword, a tag, or a path of them."""

_MAX_KEYWORDS = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What an answer to a path tells somebody."""

    pattern: re.Pattern[str]
    how: str
    is_search: bool = False


_UID = r"(?P<study>[0-9.]{1,64})"
_READINGS = tuple(
    _Reading(re.compile(pattern), how, is_search)
    for pattern, how, is_search in (
        (r"/studies", "list", True),
        (rf"/studies/{_UID}/(objects/.*|.*\.zip|.*\.dcm)", "download", False),
        (rf"/studies/{_UID}(/.*)?", "page", False),
        (r"/dicom-web/(studies|series|instances)", "qido-rs", True),
        (rf"/dicom-web/studies/{_UID}(/series(/[0-9.]+)?)?/instances", "qido-rs", True),
        (rf"/dicom-web/studies/{_UID}/series", "qido-rs", True),
        (rf"/dicom-web/studies/{_UID}(/.*)?", "wado-rs", False),
        (r"/fhir/DiagnosticReport/(?P<report>[0-9]{1,18})", "fhir", False),
    )
)
"""The first that fits counts."""


class Witness:
    """Notes what is read before the answer begins.

    An answer is given even when the database cannot keep the note: a study must be
    seen where patients are treated; the log says so.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    store : Store
        Keeps the notes.

    """

    def __init__(self, app: ASGIApp, *, store: Store) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        reading = _reading_of(scope)
        if reading is None:
            await self._app(scope, receive, send)
            return
        scope[_SEEN] = person = {"name": ""}

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start" and _tells(message["status"]):
                await run_in_threadpool(
                    self._note, Request(scope), *reading, person["name"]
                )
            await send(message)

        await self._app(scope, receive, send_noted)

    def _note(
        self, request: Request, reading: _Reading, found: re.Match[str], name: str
    ) -> None:
        detail: dict[str, str | int | float | bool | None] = {
            "person": name,
            "address": address_of(request),
            "how": reading.how,
        }
        if reading.is_search:
            detail["asked_by"] = _asked_by(request)
        named = found.groupdict()
        kind = (
            EventKind.STUDIES_SEARCHED if reading.is_search else EventKind.STUDY_VIEWED
        )
        try:
            study = named.get("study")
            if "report" in named:
                report = self._store.reports.get(int(named["report"]))
                study = None if report is None else report.study_instance_uid
                detail["report"] = int(named["report"])
            self._store.accesses.note(kind, study_instance_uid=study, detail=detail)
        except StoreError as error:
            log.error(  # noqa: TRY400
                "access_not_noted", how=reading.how, reason=str(error)
            )


def note_person(scope: Scope, name: str | None) -> None:
    """Say who was let in to what a request asks for."""
    if _SEEN in scope:
        scope[_SEEN]["name"] = name or ""


def _reading_of(scope: Scope) -> tuple[_Reading, re.Match[str]] | None:
    if scope["type"] != "http" or scope["method"] not in _READS:
        return None
    for one in _READINGS:
        found = one.pattern.fullmatch(scope["path"])
        if found is not None:
            return one, found
    return None


def _tells(status: int) -> bool:
    return 200 <= status < 300 or status == _NOT_MODIFIED


def _asked_by(request: Request) -> str:
    """Return the attributes of a query without their values, which name patients."""
    keys = [one for one in request.query_params if _KEYWORD.fullmatch(one)]
    return ",".join(sorted(set(keys))[:_MAX_KEYWORDS])
