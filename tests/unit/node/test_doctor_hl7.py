"""What the doctor says of HL7."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from dicom_node.commands import doctor
from dicom_node.config import NodeSettings


def _settings(folder: Path, **hl7: Any) -> NodeSettings:
    return NodeSettings.model_validate(
        {
            "node": {"port": 0, "data_dir": folder / "data"},
            "web": {"port": 0},
            "hl7": {"enabled": True, "port": 0, **hl7},
        }
    )


def test_a_port_in_use_is_trouble(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = _settings(tmp_path, port=other.getsockname()[1])

        found = [one for one in doctor._ports(settings) if "HL7" in one.text]

    assert [one.is_good for one in found] == [False]


def test_a_node_without_hl7_says_nothing_of_it(tmp_path: Path) -> None:
    assert list(doctor._hl7(_settings(tmp_path, enabled=False))) == []
