"""What `dicom-node status` says."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node.commands.operate import set_draining, set_paused
from dicom_node.commands.status import read_status, read_trace, status_tables
from dicom_node.config import NodeSettings
from dicom_node.errors import StoreError
from dicom_node.store import Store
from tests.builders.stores import received


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


def why_untraced(settings: NodeSettings) -> str:
    with pytest.raises(StoreError) as told:
        read_trace(settings, "1.2.3")
    return str(told.value)


def test_a_trace_tells_what_an_incomplete_study_waits_for(
    settings: NodeSettings, tmp_path: Path
) -> None:
    hold = NodeSettings.model_validate(
        {
            "node": {"data_dir": tmp_path, "quiet_time_s": 30},
            "reports": {"hold_s": 600},
        }
    )
    unknown = why_untraced(settings)
    with Store(settings.database_url) as store:
        store.record_instance(received(1, is_own_result=True))
        ours = why_untraced(settings)
        store.record_instance(received(2))
        store.record_instance(received(3, after_s=7))
    collecting = why_untraced(hold)

    assert unknown == "no study with this UID was received"
    assert ours.startswith("nothing of this study is to be processed")
    assert "3 instances came, the last at 2026-01-01 12:00:07 UTC" in collecting
    assert "complete at 2026-01-01 12:00:37 UTC if" in collecting
    assert "without a report at 2026-01-01 12:10:37 UTC" in collecting


def test_one_is_not_told_as_several(settings: NodeSettings) -> None:
    with Store(settings.database_url) as store:
        store.record_instance(received(1))

    assert "collecting, 1 instance, version 0 (-), 0 results" in shown(settings)
