"""A UPS-RS worklist manager in this process, strict about PS3.18 11 and PS3.4 CC."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

__all__ = ["UpsServer", "workitem"]

_MOVES = {
    ("SCHEDULED", "IN PROGRESS"),
    ("IN PROGRESS", "COMPLETED"),
    ("IN PROGRESS", "CANCELED"),
}
"""PS3.4 Table CC.1.1-2: what a performer may do; repeats are warnings, not moves."""

_LOCKED = {"ProcedureStepState", "SOPInstanceUID", "SOPClassUID"}


def workitem(
    uid: str = "1.7.1",
    *,
    study: str | None = "1.2.3",
    instances: tuple[str, ...] = (),
    station: str = "GROUNDING",
    procedure: str = "ground",
    retrieve_ae_title: str | None = None,
    retrieve_url: str | None = None,
    **attributes: Any,
) -> Dataset:
    """Build a scheduled workitem with one study as its input."""
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.34.6.1"
    ds.SOPInstanceUID = uid
    ds.ProcedureStepState = "SCHEDULED"
    ds.InputReadinessState = "READY"
    ds.ScheduledProcedureStepPriority = "MEDIUM"
    ds.PatientName = "ZZCANARY^PATIENT"
    ds.PatientID = "ZZCANARY-ID"
    ds.ScheduledStationNameCodeSequence = Sequence([_code(station)])
    ds.ScheduledWorkitemCodeSequence = Sequence([_code(procedure)])
    ds.InputInformationSequence = Sequence()
    if study is not None:
        one = Dataset()
        one.TypeOfInstances = "DICOM"
        one.StudyInstanceUID = study
        one.SeriesInstanceUID = f"{study}.1"
        one.ReferencedSOPSequence = Sequence(_reference(it) for it in instances)
        where = Dataset()
        if retrieve_ae_title is not None:
            where.RetrieveAETitle = retrieve_ae_title
            one.DICOMRetrievalSequence = Sequence([where])
        if retrieve_url is not None:
            where = Dataset()
            where.RetrieveURL = retrieve_url
            one.WADORSRetrievalSequence = Sequence([where])
        ds.InputInformationSequence.append(one)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


class UpsServer:
    """A manager on loopback with the workitems that a test puts in."""

    def __init__(self, *items: Dataset) -> None:
        self.items = {str(one.SOPInstanceUID): one for one in items}
        self.locks: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.steps: list[str] = []
        """Every progress, in percent, in order."""
        self.before: Callable[[str, str], int | None] = lambda _method, _path: None
        """Returns a status to answer with instead of doing it."""
        self.after: Callable[[str, str], int | None] = lambda _method, _path: None
        """Returns a status to answer with although it was done."""
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}/ups"

    def state(self, uid: str = "1.7.1") -> str:
        with self._lock:
            return str(self.items[uid].ProcedureStepState)

    def take(self, uid: str, transaction_uid: str) -> None:
        """Let somebody else claim a workitem."""
        with self._lock:
            self.items[uid].ProcedureStepState = "IN PROGRESS"
            self.locks[uid] = transaction_uid

    def __enter__(self) -> UpsServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.handle(self)

            do_POST = do_PUT = do_GET  # noqa: N815 - as http.server calls them

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        split = urlsplit(request.path)
        with self._lock:
            self.requests.append((request.command, split.path))
            status, payload = self._answer(request, split.path, split.query, body)
        data = b"" if payload is None else json.dumps(payload).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/dicom+json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _answer(
        self, request: BaseHTTPRequestHandler, path: str, query: str, body: bytes
    ) -> tuple[int, Any]:
        instead = self.before(request.command, path)
        if instead is not None:
            return instead, None
        parts = path.removeprefix("/ups/").split("/")
        if parts[0] != "workitems" or len(parts) > 3:
            return 404, None
        if len(parts) == 1:
            return self._search(query) if request.command == "GET" else (405, None)
        uid = parts[1]
        if uid in self.deleted:
            return 410, None
        if uid not in self.items:
            return 404, None
        if request.command == "GET" and len(parts) == 2:
            return 200, [self.items[uid].to_json_dict()]
        if request.headers.get("Content-Type") != "application/dicom+json":
            return 415, None
        change = Dataset.from_json(body.decode())
        if request.command == "POST" and len(parts) == 2:
            status = self._update(uid, change, query)
        elif request.command == "PUT" and parts[2:] == ["state"]:
            status = self._change_state(uid, change)
        else:
            status = 405
        return self.after(request.command, path) or status, None

    def _search(self, query: str) -> tuple[int, Any]:
        """Match single values, also inside sequences (PS3.18 11.9)."""
        rows = list(self.items.values())
        for name, value in parse_qsl(query):
            if name in {"includefield", "limit", "offset"}:
                continue
            rows = [one for one in rows if value in _values(one, name.split("."))]
        if not rows:
            return 204, None
        return 200, [one.to_json_dict() for one in rows]

    def _update(self, uid: str, change: Dataset, query: str) -> int:
        item = self.items[uid]
        if item.ProcedureStepState in {"COMPLETED", "CANCELED"}:
            return 409
        # The lock: in the query (PS3.18 11.6.1) and the data set (PS3.4 CC.2.6).
        if item.ProcedureStepState == "IN PROGRESS" and not (
            query == self.locks[uid] == change.get("TransactionUID")
        ):
            return 409
        if any(keyword in change for keyword in _LOCKED):
            return 400
        del change.TransactionUID
        item.update(change)
        for one in change.get("ProcedureStepProgressInformationSequence", ()):
            if "ProcedureStepProgress" in one:
                self.steps.append(f"{float(one.ProcedureStepProgress):g}")
        return 200

    def _change_state(self, uid: str, change: Dataset) -> int:
        item = self.items[uid]
        wanted, lock = change.get("ProcedureStepState"), change.get("TransactionUID")
        if not lock or (item.ProcedureStepState, wanted) not in _MOVES:
            return 409 if lock else 400
        if wanted == "IN PROGRESS":
            self.locks[uid] = lock
        elif lock != self.locks[uid] or not _is_final(item, wanted):
            return 409
        item.ProcedureStepState = wanted
        return 200


def _is_final(item: Dataset, state: str) -> bool:
    """Check what PS3.4 Table CC.2.5-3 asks of a final state."""
    if state == "CANCELED":
        (done,) = item.get("ProcedureStepProgressInformationSequence") or (Dataset(),)
        return bool(
            done.get("ProcedureStepCancellationDateTime")
            and done.get("ProcedureStepDiscontinuationReasonCodeSequence")
        )
    (done,) = item.get("UnifiedProcedureStepPerformedProcedureSequence") or (Dataset(),)
    outputs = done.get("OutputInformationSequence")
    return bool(
        done.get("PerformedStationNameCodeSequence")
        and done.get("PerformedWorkitemCodeSequence")
        and done.get("PerformedProcedureStepStartDateTime")
        and done.get("PerformedProcedureStepEndDateTime")
        and outputs is not None
        and all(
            one.get("TypeOfInstances")
            and one.get("ReferencedSOPSequence")
            and (
                one.get("DICOMRetrievalSequence") or one.get("WADORSRetrievalSequence")
            )
            for one in outputs
        )
    )


def _values(ds: Dataset, path: list[str]) -> set[str]:
    assert tag_for_keyword(path[0]) is not None, path
    value = ds.get(path[0])
    if value is None:
        return set()
    if len(path) > 1:
        return {found for one in value for found in _values(one, path[1:])}
    return {str(value)}


def _code(value: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, "99TEST", value
    return ds


def _reference(uid: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.ReferencedSOPInstanceUID = uid
    return ds
