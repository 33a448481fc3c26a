"""The guard: refusals reach the audit trail, and certificates are seen to end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select
from structlog.testing import capture_logs

from dicom_node.audit import EventKind
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.scp.admission import Refusal, Refusals
from dicom_node.service.guard import Guard
from dicom_node.store import Store
from dicom_node.store.database import Database
from dicom_node.store.schema import events
from dicom_node.tls import ServerFiles, ServerTls
from tests.builders.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


def written(tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    with database.read() as connection:
        rows = connection.execute(select(events).order_by(events.c.id)).all()
    database.engine.dispose()
    return [(row.kind, row.detail) for row in rows]


def make_guard(
    store: Store, authority: Authority, *, days: float = 365, refusals: Refusals
) -> Guard:
    pair = authority.sign("node", days=days)
    settings = NodeSettings.model_validate(
        {
            "dicom_tls": {
                "enabled": True,
                "certificate": pair.certificate,
                "private_key": pair.private_key,
                "client_ca": authority.path,
            }
        }
    )
    files = ServerFiles.of(settings.dicom_tls)
    assert files is not None
    return Guard(
        settings,
        store,
        refusals=refusals,
        tls=[ServerTls(files), None],
        clock=lambda: datetime.now(UTC),
    )


REFUSAL = Refusal(EventKind.ASSOCIATION_REFUSED, "10.0.0.1", "calling", "EVIL", "NODE")


def test_refusals_are_written_and_the_last_at_the_end(
    tmp_path: Path, store: Store, authority: Authority
) -> None:
    refusals = Refusals(2)
    for _ in range(3):
        refusals.note(REFUSAL)
    assert refusals.turns_away("10.0.0.1")
    guard = make_guard(store, authority, refusals=refusals)

    guard.start()
    guard.stop()

    said = {
        "peer_address": "10.0.0.1",
        "reason": "calling",
        "calling_ae_title": "EVIL",
        "called_ae_title": "NODE",
    }
    assert written(tmp_path) == [
        ("association_refused", {**said, "count": 1, "turned_away": 0}),
        ("association_refused", {**said, "count": 2, "turned_away": 1}),
    ]


def test_refusals_wait_for_a_database_that_is_away(
    tmp_path: Path,
    store: Store,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusals = Refusals(10)
    refusals.note(REFUSAL)
    guard = make_guard(store, authority, refusals=refusals)

    def away(*_: object, **__: object) -> None:
        raise StoreError

    with monkeypatch.context() as patched:
        patched.setattr(store, "record_event", away)
        guard._write_refusals()
    assert written(tmp_path) == []
    guard._write_refusals()

    assert [kind for kind, _ in written(tmp_path)] == ["association_refused"]


@pytest.mark.parametrize(
    ("days", "is_trouble", "is_warning"),
    [(365, False, False), (29, False, True), (-1, True, False)],
)
def test_a_certificate_that_ends_is_told_of_in_time(
    tmp_path: Path,
    store: Store,
    authority: Authority,
    days: int,
    is_trouble: bool,
    is_warning: bool,
) -> None:
    guard = make_guard(store, authority, days=days, refusals=Refusals(10))

    with capture_logs() as logs:
        guard._look()
        guard._look()

    assert (guard.trouble is not None, guard.warning is not None) == (
        is_trouble,
        is_warning,
    )
    told = [one for one in logs if one["event"] == "certificate_expires"]
    kinds = [kind for kind, _ in written(tmp_path)]
    assert len(told) == int(is_trouble or is_warning)
    assert kinds == ["certificate_expires"] * len(told)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_certificate_that_is_only_shown_to_a_destination_is_a_warning(
    store: Store, authority: Authority, is_there: bool
) -> None:
    pair = authority.sign("shown", days=-1)
    if not is_there:
        pair.certificate.unlink()
    tls = {"certificate": pair.certificate, "private_key": pair.private_key}
    far = {"name": "far", "ae_title": "FAR", "host": "far", "port": 104, "tls": tls}
    guard = Guard(
        NodeSettings.model_validate({"destinations": [far]}),
        store,
        refusals=Refusals(10),
        tls=[],
        clock=lambda: datetime.now(UTC),
    )

    assert guard.trouble is None
    assert "destinations.far" in str(guard.warning)


def test_an_old_root_after_the_certificate_is_no_trouble(
    store: Store, authority: Authority
) -> None:
    guard = make_guard(store, authority, refusals=Refusals(10))
    old = authority.sign("old", days=-1).certificate.read_bytes()
    chain = authority.folder / "node.pem"
    chain.write_bytes(chain.read_bytes() + old)

    assert (guard.trouble, guard.warning) == (None, None)


def test_the_end_of_a_certificate_is_a_number_for_alarms(
    store: Store, authority: Authority
) -> None:
    registry = CollectorRegistry()
    registry.register(make_guard(store, authority, days=100, refusals=Refusals(10)))

    ends = registry.get_sample_value(
        "dicom_node_certificate_not_after_seconds", {"use": "dicom_tls"}
    )

    wanted = datetime.now(UTC) + timedelta(days=100)
    assert ends == pytest.approx(wanted.timestamp(), abs=60)


def test_a_certificate_that_cannot_be_read_any_more_is_trouble(
    store: Store, authority: Authority
) -> None:
    guard = make_guard(store, authority, refusals=Refusals(10))
    assert guard.trouble is None
    (authority.folder / "node.pem").write_text("nonsense")

    assert "the one before is still used" in str(guard.trouble)
