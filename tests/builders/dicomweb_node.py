"""DICOMweb on a store and a folder, served on loopback without the rest of the node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from dicomweb_client import DICOMwebClient
from fastapi import FastAPI

from dicom_node.config import LimitSettings, NodeSection, NodeSettings, WebSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.receive import InstanceReceiver, StoreRequest
from dicom_node.records import ReceivedInstance, ResultObject
from dicom_node.spool import Spool
from dicom_node.store import InstanceOutcome, Store
from dicom_node.web.access import Person
from dicom_node.web.dicomweb_routes import DICOMWEB_PATH, make_router
from dicom_node.web.guards import SecurityHeaders
from dicom_node.web.problems import add_problem_handlers
from dicom_node.web.server import WebServer
from dicom_node.web.viewer import make_viewer_router
from tests.builders.stores import NOON

__all__ = ["SENDER", "DicomwebNode", "run_dicomweb"]

SENDER = "a-person-with-a-long-name"
"""Longer than an AE title."""


@dataclass
class DicomwebNode:
    """A served store: what a test puts in and asks."""

    url: str
    store: Store
    spool: Spool
    released: list[int] = field(default_factory=list)
    """Grows with each request that stored."""

    @property
    def root(self) -> str:
        """The service's address."""
        return self.url + DICOMWEB_PATH

    @property
    def client(self) -> DICOMwebClient:
        """An outside client."""
        return DICOMwebClient(self.root)

    def receive(self, paths: Sequence[Path]) -> None:
        """Take files in as C-STORE would."""
        receiver = InstanceReceiver(self.spool, self.store)
        for path in paths:
            header = read_header(path)
            reception = receiver.begin(
                StoreRequest(
                    header.sop_class_uid,
                    header.sop_instance_uid,
                    header.transfer_syntax_uid,
                    "SENDER",
                    "127.0.0.1",
                )
            )
            reception.write(memoryview(path.read_bytes()[header.data_set_offset :]))
            answer = reception.finish()
            assert answer.instance is not None, answer.comment

    def record(self, instance: ReceivedInstance) -> InstanceOutcome:
        """Record an instance without a file."""
        return self.store.record_instance(instance)

    def finish(self, objects: Sequence[ResultObject], *, result_dir: Path) -> None:
        """Record results of every study that collects, as one version each."""
        for study in self.store.collecting_studies():
            key = self.store.open_version(
                study.study_id,
                now=NOON + timedelta(hours=1),
                version_of=lambda uids: hashlib.sha256(
                    "".join(sorted(uids)).encode()
                ).hexdigest(),
            )
            assert key is not None
            work = self.store.work.start_version(
                key.version_id,
                run=key.run,
                fingerprint="test",
                data_dir=self.spool.data_dir,
                now=NOON,
            )
            assert work is not None
            done = self.store.work.finish_version(
                key.version_id,
                run=key.run,
                fingerprint="test",
                objects=objects,
                result_dir=result_dir,
                data_dir=self.spool.data_dir,
                destinations={},
                now=NOON,
            )
            assert done is not None

    def sha256(self, path: Path) -> str:
        """Return the hash that names an instance's content."""
        return instance_sha256(path, read_header(path))


@contextmanager
def run_dicomweb(
    data_dir: Path,
    *,
    viewer_dir: Path | None = None,
    max_upload_bytes: int = 1 << 26,
    max_instance_bytes: int = 1 << 25,
) -> Iterator[DicomwebNode]:
    """Serve DICOMweb while the block lasts."""
    settings = NodeSettings(
        node=NodeSection(data_dir=data_dir),
        web=WebSettings(
            port=0, viewer_dir=viewer_dir, max_upload_bytes=max_upload_bytes
        ),
        limits=LimitSettings(min_free_bytes=0, max_instance_bytes=max_instance_bytes),
    )
    spool = Spool(data_dir.resolve(), min_free_bytes=0)
    released: list[int] = []
    with Store(settings.database_url) as store:
        store.migrate()
        service = DicomwebService(
            settings,
            catalogue=store.catalogue,
            spool=spool,
            ledger=store,
            on_release=lambda: released.append(1),
        )

        def anybody() -> Person:
            return Person(SENDER, "editor")

        app = FastAPI()
        add_problem_handlers(app)
        app.add_middleware(SecurityHeaders)
        app.include_router(make_router(service, viewer=anybody, sender=anybody))
        if viewer_dir is not None:
            app.include_router(make_viewer_router(viewer_dir, access=anybody))
        web = WebServer(app, settings.web)
        web.start()
        try:
            url = f"http://127.0.0.1:{web.port}"
            yield DicomwebNode(url, store, spool, released)
        finally:
            web.stop()
            service.close()
