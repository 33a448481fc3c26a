"""A node that cannot listen on all its ports listens on none."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from dicom_node.config import NodeSettings
from dicom_node.errors import SettingsError
from dicom_node.scp import DicomServer
from dicom_node.scp.doors import Door
from dicom_node.service.ports import check_ports
from dicom_node.spool import Spool
from tests.builders.certificates import Authority
from tests.builders.dicom_server import MemoryLedger
from tests.builders.process import free_port


def make_settings(folder: Path, **tables: dict[str, Any]) -> NodeSettings:
    (folder / "certificates").mkdir()
    pair = Authority(folder / "certificates").sign("node")
    secure = {
        "enabled": True,
        "require_client": False,
        "certificate": pair.certificate,
        "private_key": pair.private_key,
        "port": 0,
    }
    values: dict[str, dict[str, Any]] = {
        "node": {"port": 0, "data_dir": folder / "data"},
        "web": {"enabled": False},
        "dicom_tls": secure,
    }
    for name, table in tables.items():
        values[name] = {**values.get(name, {}), **table}
    return NodeSettings.model_validate(values)


def test_a_port_that_is_taken_shuts_those_that_were_open(tmp_path: Path) -> None:
    plain = free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = make_settings(
            tmp_path,
            node={"port": plain},
            dicom_tls={"port": other.getsockname()[1]},
        )
        spool = Spool(settings.node.data_dir, min_free_bytes=0)
        server = DicomServer(settings, spool=spool, ledger=MemoryLedger())

        with pytest.raises(SettingsError, match="cannot listen"):
            server.start()

    assert "dicom-listener" not in {one.name for one in threading.enumerate()}
    socket.create_server(("127.0.0.1", plain)).close()


@pytest.mark.parametrize(
    ("table", "held", "host"),
    [
        ("dicom_tls", "127.0.0.1", None),
        ("web", "127.0.0.1", "127.0.0.1"),
        ("hl7", "127.0.0.1", "localhost"),
        ("hl7", "0.0.0.0", "::"),
        ("web", "0.0.0.0", "::"),
    ],
)
def test_a_port_is_looked_at_as_it_will_be_listened_on(
    tmp_path: Path, table: str, held: str, host: str | None
) -> None:
    with socket.create_server((held, 0)) as other:
        values: dict[str, Any] = {"enabled": True, "port": other.getsockname()[1]}
        if host is not None:
            values["host"] = host
        if table == "hl7":
            values["callers"] = ["127.0.0.1"]
        settings = make_settings(tmp_path)
        section = getattr(settings, table).model_copy(update=values)
        settings = settings.model_copy(update={table: section})

        with pytest.raises(SettingsError, match="cannot listen"):
            check_ports(settings)

    check_ports(settings)


def test_a_door_without_a_thread_gives_its_port_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    port = free_port()
    door = Door("127.0.0.1", port, on_connection=lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            door.open()

    door.close()
    socket.create_server(("127.0.0.1", port)).close()
