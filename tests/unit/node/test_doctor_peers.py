"""What the doctor says of the node's own ports and of remote models."""

from __future__ import annotations

import fcntl
import socket
from pathlib import Path

from dicom_node.commands import doctor
from dicom_node.config import NodeSettings
from dicom_node.service import LOCK_FILE
from dicom_node.tls import certificates_of
from tests.builders.certificates import Authority


def test_a_running_node_is_named_by_the_ports_that_are_open(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").sign("node", days=90)
    settings = NodeSettings.model_validate(
        {
            "node": {"data_dir": tmp_path, "plain": False},
            "dicom_tls": {
                "enabled": True,
                "require_client": False,
                "certificate": pair.certificate,
                "private_key": pair.private_key,
            },
        }
    )
    with (tmp_path / LOCK_FILE).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (found,) = doctor._ports(settings)

    assert found.text == "the node is running on 127.0.0.1:2762"


def test_a_remote_model_is_asked_for_a_sign_of_life(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").sign("node", days=90)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        far = {"name": "far", "ae_title": "FAR", "host": "127.0.0.1", "port": port}
        tls = {"certificate": pair.certificate, "private_key": pair.private_key}
        settings = NodeSettings.model_validate(
            {
                "callers": [{"ae_title": "FAR", "address": "127.0.0.1"}],
                "remotes": [far | {"tls": tls}],
            }
        )

        (found,) = doctor._remotes(settings)

    assert not found.is_good
    assert found.text.startswith(f"remote far (FAR@127.0.0.1:{port}): ")
    assert [one.use for one in certificates_of(settings)] == ["remotes.far"]
