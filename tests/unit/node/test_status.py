"""What `dicom-node status` says."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node.config import NodeSettings
from dicom_node.operate import set_draining, set_paused
from dicom_node.status import read_status, status_tables
from dicom_node.store import Store


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    made = NodeSettings.model_validate({"node": {"data_dir": tmp_path}})
    with Store(made.database_url) as store:
        store.migrate()
    return made


def shown(settings: NodeSettings) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for one in status_tables(read_status(settings)):
        console.print(one)
    return console.export_text()


def test_the_status_tells_of_a_pause_until_it_is_over(settings: NodeSettings) -> None:
    before = shown(settings)
    set_paused(settings, True)
    set_draining(settings, True)
    during, document = shown(settings), read_status(settings).as_json()
    set_paused(settings, False)
    set_draining(settings, False)

    assert "paused since" in during
    assert "draining since" in during
    assert "dicom-node resume" in during
    assert set(document["switched_on"]) == {"paused", "draining"}
    assert shown(settings) == before
