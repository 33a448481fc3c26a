"""What pages and DICOMweb answer over HTTP, from databases of several sizes."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from prometheus_client import CollectorRegistry

from dicom_node.config import LimitSettings, NodeSection, NodeSettings, WebSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.scp import ServerStatistics
from dicom_node.spool import Spool
from dicom_node.store import Store
from dicom_node.web import HealthReport, NodeCollector
from dicom_node.web.app import make_app
from dicom_node.web.parts import NodeNumbers, make_parts
from dicom_node.web.server import WebServer
from tests.bench.growth_rows import (
    INSTANCES_OF_A_STUDY,
    NOW,
    patient_id,
    study_uid,
)
from tests.bench.report import Tell

__all__ = ["LIMIT", "REQUESTS", "ask_http"]

LIMIT = 5
"""Studies in an answer, so that the smallest database fills it twice."""

_PATHS = {
    "page: the study list, its HTML": "/",
    "page: newest studies": "/studies?limit={limit}",
    "page: studies from the middle on": "/studies?limit={limit}&before={next}",
    "page: an accession number is looked for": "/studies?limit={limit}&q={accession}",
    "page: a study": "/studies/{study}",
    "QIDO-RS: newest studies": "/dicom-web/studies?limit={limit}",
    "QIDO-RS: PatientID": "/dicom-web/studies?PatientID={patient}",
    "metrics": "/metrics",
}

_SILENT = ServerStatistics(0, 0, 0, 0, {}, {}, {}, 0)
_PAGE = 200

REQUESTS = tuple(_PATHS)
"""What is asked, in the order of the table."""


@dataclass(frozen=True)
class _Site:
    """A web server on a database."""

    port: int
    words: Mapping[str, str]

    def get(self, path: str) -> float:
        """Ask once, on a new connection; return the seconds until the last byte."""
        began = time.perf_counter()
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        ) as connection:
            connection.request("GET", path.format_map(self.words))
            answer = connection.getresponse()
            body = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200 or not body:
            msg = f"{path}: status {answer.status}, {len(body)} bytes"
            raise RuntimeError(msg)
        return seconds


def ask_http(
    files: Mapping[int, Path], repeats: int, *, folder: Path, tell: Tell
) -> dict[str, dict[int, float]]:
    """Ask web servers on SQLite databases in turn.

    Parameters
    ----------
    files : mapping
        By the instances that each has, files that `growth_rows.fill` made.
    repeats : int
        How often each is asked, after once that does not count.
    folder : Path
        Where the servers' data folders are made.
    tell : callable
        Hears of each request.

    Returns
    -------
    dict of dict
        Median seconds of each of `REQUESTS` by the size of the database.

    """
    times: dict[str, dict[int, float]] = {}
    sizes: Sequence[int] = tuple(files)
    with ExitStack() as stack:
        sites = {
            size: stack.enter_context(_site(path, size, folder / f"http-{size}"))
            for size, path in files.items()
        }
        for name, path in _PATHS.items():
            samples: dict[int, list[float]] = {size: [] for size in sizes}
            for repeat in range(repeats + 1):
                for size in sizes[:: 1 if repeat % 2 == 0 else -1]:
                    seconds = sites[size].get(path)
                    if repeat:
                        samples[size].append(seconds)
            times[name] = {
                size: statistics.median(each) for size, each in samples.items()
            }
            tell(f"HTTP, {name}: {1000 * times[name][sizes[-1]]:.1f} ms")
    return times


@contextmanager
def _site(database: Path, instance_count: int, folder: Path) -> Iterator[_Site]:
    folder.mkdir()
    settings = NodeSettings(
        node=NodeSection(data_dir=folder, database_url=f"sqlite:///{database}"),
        web=WebSettings(port=0),
        limits=LimitSettings(min_free_bytes=0),
    )
    with Store(settings.database_url) as store:
        store.data_dir = folder
        registry = CollectorRegistry()
        registry.register(
            NodeCollector(
                store,
                data_dir=folder,
                statistics=lambda: _SILENT,
                is_model_loaded=lambda: True,
            )
        )
        dicomweb = DicomwebService(
            settings,
            catalogue=store.catalogue,
            spool=Spool(folder, min_free_bytes=0),
            ledger=store,
            on_release=lambda: None,
        )
        parts = make_parts(
            settings,
            store,
            examine=lambda: HealthReport(checks=(), problems={}),
            registry=registry,
            node=lambda: NodeNumbers(NOW, None, None, 0, 0, 0),
            dicomweb=dicomweb,
        )
        # Started without its parts: they get ready for frames beside the first answers.
        web = WebServer(make_app(parts), settings.web)
        web.start()
        try:
            yield _Site(web.port, _words(store, instance_count))
        finally:
            parts.close()
            web.stop()
            dicomweb.close()


def _words(store: Store, instance_count: int) -> dict[str, str]:
    """Return what the paths ask for: a study, and a page, neither new nor old."""
    count = instance_count // INSTANCES_OF_A_STUDY
    middle = count // 2 + 1
    return {
        "limit": str(LIMIT),
        "next": quote(_place_after(store, count // 2)),
        "accession": f"A{middle:09d}",
        "study": study_uid(middle),
        "patient": patient_id(middle),
    }


def _place_after(store: Store, studies: int) -> str:
    """Return where the page begins that follows so many of the newest studies."""
    before = None
    while studies:
        step = min(studies, _PAGE)
        before = store.pages.list_studies(limit=step, before=before).next
        studies -= step
    assert before is not None
    return before
