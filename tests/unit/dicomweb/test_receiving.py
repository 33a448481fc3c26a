from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from dicom_node.assembly import Assembler
from dicom_node.config import LimitSettings, NodeSection, NodeSettings
from dicom_node.dicomweb import DicomwebService
from dicom_node.dicomweb.multipart import Part, write_multipart
from dicom_node.dicomweb.receiving import StowRequest, read_content_type
from dicom_node.errors import DicomwebError
from dicom_node.spool import Spool
from dicom_node.store import CollectingStudy, Store, VersionKey
from dicom_node.store.schema import instances
from tests.builders.dicom_series import SyntheticSeries, make_ct_series
from tests.builders.stores import NOON

REQUEST = StowRequest(boundary="b", sender="STOW-RS", peer_address="127.0.0.1")


class Clock:
    """A clock that stands still until it is moved."""

    now = NOON

    def __call__(self) -> datetime:
        return self.now


class Hooks:
    def version_ready(self, key: VersionKey, *, is_requested: bool) -> None: ...

    def study_requested(self, study: CollectingStudy) -> None: ...


@pytest.fixture
def study(tmp_path: Path) -> SyntheticSeries:
    return make_ct_series(tmp_path / "ct", slices=2)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[DicomwebService, Assembler, Clock]]:
    settings = NodeSettings(
        node=NodeSection(data_dir=tmp_path / "data"),
        limits=LimitSettings(min_free_bytes=0),
    )
    spool = Spool(tmp_path / "data", min_free_bytes=0)
    clock = Clock()
    with Store(settings.database_url) as store:
        store.migrate()
        assembler = Assembler(store, Hooks(), quiet_time_s=1.0, clock=clock)
        service = DicomwebService(
            settings,
            catalogue=store.catalogue,
            spool=spool,
            ledger=assembler,
            on_release=assembler.association_released,
        )
        yield service, assembler, clock
        service.close()


def test_a_study_waits_for_the_request_that_brings_it(
    parts: tuple[DicomwebService, Assembler, Clock], study: SyntheticSeries
) -> None:
    service, assembler, clock = parts
    body = b"".join(
        write_multipart(
            (Part("application/dicom", [path.read_bytes()]) for path in study.paths),
            boundary="b",
        )
    )
    half, rest = threading.Event(), threading.Event()

    def blocks() -> Iterator[bytes]:
        yield body[: len(body) * 2 // 3]
        half.set()
        assert rest.wait(30)
        yield body[len(body) * 2 // 3 :]

    thread = threading.Thread(target=lambda: service.store(blocks(), REQUEST))
    thread.start()
    assert half.wait(30)
    clock.now = _received_at(service) + timedelta(seconds=30)
    during = assembler.evaluate()
    rest.set()
    thread.join(30)
    clock.now = _received_at(service) + timedelta(seconds=30)
    at_once = assembler.evaluate()
    clock.now += timedelta(seconds=30)
    after = assembler.evaluate()

    assert during == ()
    assert len(at_once + after) == 1


def test_nothing_is_taken_while_the_node_drains(
    tmp_path: Path, study: SyntheticSeries
) -> None:
    settings = NodeSettings(node=NodeSection(data_dir=tmp_path / "data"))
    with Store(settings.database_url) as store:
        store.migrate()
        service = DicomwebService(
            settings,
            catalogue=store.catalogue,
            spool=Spool(tmp_path / "data", min_free_bytes=0),
            ledger=store,
            on_release=lambda: None,
            is_draining=lambda: True,
        )

        with pytest.raises(DicomwebError) as raised:
            service.store([study.paths[0].read_bytes()], REQUEST)

    assert raised.value.status == 503


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=x', "x"),
        ('Multipart/Related; boundary="a b;c"; type=application/dicom', "a b;c"),
        ("multipart/related; boundary=x", "x"),
        ("multipart/related", ""),
    ],
)
def test_the_boundary_is_read_from_the_content_type(text: str, boundary: str) -> None:
    assert read_content_type(text) == boundary


def _received_at(service: DicomwebService) -> datetime:
    with service.library.catalogue._database.read() as connection:
        found = connection.scalar(select(func.max(instances.c.received_at)))
    assert found is not None
    return found
