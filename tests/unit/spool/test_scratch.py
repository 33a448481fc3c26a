from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from dicom_node.errors import SettingsError
from dicom_node.scratch import clear_scratch, scratch_folder


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/nowhere")


def test_what_a_kill_left_is_gone_and_the_folder_is_for_its_owner(
    tmp_path: Path,
) -> None:
    folder = scratch_folder(tmp_path)
    (folder / "tmp1").mkdir()
    (folder / "tmp1" / "sr.dcm").touch()
    folder.chmod(0o755)

    clear_scratch(tmp_path)

    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_libraries_and_children_use_it_as_well(tmp_path: Path) -> None:
    folder = clear_scratch(tmp_path)

    assert tempfile.gettempdir() == str(folder) == os.environ["TMPDIR"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "scratch").touch()

    with pytest.raises(SettingsError, match="Not a directory"):
        clear_scratch(tmp_path)
