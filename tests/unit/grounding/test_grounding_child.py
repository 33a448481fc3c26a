from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from dicom_node.grounding.child import _checkpoint_folder

REVISION = "a" * 40
HUB = {"checkpoint": None, "hub_id": "owner/name", "hub_revision": REVISION}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that notes what is asked of it; the process may be online before."""
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options, constants.HF_HUB_OFFLINE))
        return str(tmp_path)

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_the_named_revision_is_fetched_and_its_folder_used(hub, tmp_path):
    assert _checkpoint_folder(HUB) == tmp_path

    ((name, options, _),) = hub
    assert name == "owner/name"
    assert options["revision"] == REVISION


@pytest.mark.parametrize(
    ("file", "is_fetched"),
    [
        ("model.safetensors", True),
        ("config.json", True),
        ("merges.txt", True),
        ("tokenizer.model", True),
        ("pytorch_model.bin", False),
        ("modeling_own.py", False),
        ("model.pt", False),
        ("data.pkl", False),
    ],
)
def test_nothing_that_can_run_code_is_fetched(hub, file, is_fetched):
    _checkpoint_folder(HUB)

    patterns = hub[0][1]["allow_patterns"]
    assert any(fnmatch(file, pattern) for pattern in patterns) == is_fetched


def test_the_process_is_offline_after_the_fetch_and_not_before(hub):
    _checkpoint_folder(HUB)

    assert not hub[0][2]
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert huggingface_hub.is_offline_mode()


def test_a_folder_on_disk_asks_no_hub(hub):
    assert _checkpoint_folder({**HUB, "checkpoint": "/models/own"}) == Path(
        "/models/own"
    )
    assert hub == []
