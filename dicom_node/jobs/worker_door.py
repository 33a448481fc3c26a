"""What a worker says of itself over HTTP: health and numbers, nothing of patients."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from dicom_node import __version__
from dicom_node.errors import SettingsError
from dicom_node.jobs.worker import Worker

__all__ = ["WorkerDoor"]

_PATIENCE_S = 5.0

log = structlog.get_logger(__name__)


class WorkerDoor:
    """Answers ``/health`` and ``/metrics`` while the block lasts.

    Parameters
    ----------
    worker : Worker
        Of whom it tells.
    address : tuple of str and int, optional
        Where it listens; None: nowhere. Port 0 picks a free one.

    Raises
    ------
    SettingsError
        The address cannot be used.

    """

    def __init__(self, worker: Worker, address: tuple[str, int] | None) -> None:
        self._worker = worker
        self._address = address
        self._server: _Server | None = None

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self._server is None else self._server.server_address[1]

    def __enter__(self) -> Self:
        if self._address is None:
            return self
        try:
            self._server = _Server(self._address, self._worker)
        except OSError as error:
            host, port = self._address
            msg = f"--listen {host}:{port}: {error.strerror}"
            raise SettingsError(msg) from error
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="worker-web",
            daemon=True,
        ).start()
        log.info("worker_listens", port=self.port)
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Numbers(Collector):
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Yield what the worker has done."""
        worker = self._worker
        jobs = CounterMetricFamily(
            "dicom_node_worker_jobs", "Jobs that ended.", labels=["outcome"]
        )
        for outcome, count in worker.done.items():
            jobs.add_metric([outcome.replace(" ", "_")], count)
        yield jobs
        seconds = CounterMetricFamily(
            "dicom_node_worker_seconds", "Time that jobs took.", labels=["step"]
        )
        for step, of in worker.seconds.items():
            seconds.add_metric([step], of)
        yield seconds
        yield GaugeMetricFamily(
            "dicom_node_worker_busy",
            "Whether a job is being done.",
            int(worker.running is not None),
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], worker: Worker) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.worker = worker
        self.registry = CollectorRegistry()
        self.registry.register(_Numbers(worker))
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a caller that hangs up is no event."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    protocol_version = "HTTP/1.0"
    server_version = "dicom-node"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        """Answer as the node does."""
        path = self.path.partition("?")[0]
        trouble = self.server.worker.trouble
        status = HTTPStatus.OK if trouble is None else HTTPStatus.SERVICE_UNAVAILABLE
        reasons = {} if trouble is None else {"worker": trouble}
        if path == "/metrics":
            self._send(
                HTTPStatus.OK,
                generate_latest(self.server.registry),
                kind=CONTENT_TYPE_LATEST,
            )
        elif path == "/health/live":
            self._say(HTTPStatus.OK, {"status": "live"})
        elif path == "/health/ready":
            self._say(status, {"ready": trouble is None, "reasons": reasons})
        elif path == "/health":
            said = "ready" if trouble is None else "not ready"
            self._say(
                status, {"status": said, "version": __version__, "checks": reasons}
            )
        else:
            self._say(HTTPStatus.NOT_FOUND, {"detail": "there is no such page"})

    def log_message(self, *_: object) -> None:
        """Write nothing: the path is the caller's."""

    def _say(self, status: HTTPStatus, content: object) -> None:
        self._send(status, json.dumps(content).encode(), kind="application/json")

    def _send(self, status: HTTPStatus, data: bytes, *, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)
