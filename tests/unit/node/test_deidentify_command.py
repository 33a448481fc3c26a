from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.config import load_settings
from dicom_node.errors import SettingsError
from tests.builders.dicom_series import make_ct_series

REMOTE = """
[[callers]]
ae_title = "{caller}"
address = "127.0.0.1"
[[remotes]]
name = "far"
ae_title = "FAR"
host = "127.0.0.1"
port = 11112
allow_faces = true
[[rules]]
name = "all"
model = "{model}"
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DICOM_NODE_NODE_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "in"
    make_ct_series(folder / "a", slices=2, changes={"PatientName": "Zyxwvut^Anna"})
    make_ct_series(folder / "b", slices=1, name="b", body_part="HEAD")
    return folder


def write_config(folder: Path, *, caller: str = "FAR", model: str = "far") -> Path:
    path = folder / "node.toml"
    path.write_text(REMOTE.format(caller=caller, model=model), encoding="utf-8")
    return path


def test_copies_are_written_and_what_does_not_leave_is_told(
    files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    done = CliRunner().invoke(app, ["deidentify", str(files), str(out)])

    assert done.exit_code == 1
    assert "2 of 3 written" in done.output
    copies = sorted(out.iterdir())
    assert len(copies) == 2
    assert all(dcmread(one).PatientIdentityRemoved == "YES" for one in copies)


def test_the_check_lists_what_would_leave_and_writes_nothing(
    files: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path)
    command = [
        "deidentify",
        str(files),
        "--check",
        "--remote",
        "far",
        "-c",
        str(config),
    ]

    done = CliRunner().invoke(app, command)

    assert done.exit_code == 0
    assert "BodyPartExamined: ABDOMEN, HEAD" in done.output
    assert "Zyxwvut" not in done.output
    assert "3 of 3 would leave" in done.output
    assert not (tmp_path / "data").exists()


def test_a_new_key_is_told(files: Path, tmp_path: Path) -> None:
    command = ["deidentify", str(files), str(tmp_path / "out")]

    first = CliRunner().invoke(app, command)
    second = CliRunner().invoke(app, command)

    assert "there was no key; a new one is kept" in " ".join(first.output.split())
    assert "no key" not in second.output


def test_the_help_names_the_remote_models() -> None:
    done = CliRunner().invoke(app, ["deidentify", "--help"])

    assert "[]" not in done.output
    assert "remote model" in done.output


def test_the_key_is_its_owners_alone(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    CliRunner().invoke(app, ["deidentify", str(files), str(out)])
    (tmp_path / "data" / "pseudonym.key").chmod(0o644)

    again = CliRunner().invoke(app, ["deidentify", str(files), str(out)])

    assert isinstance(again.exception, SettingsError)


def test_a_rule_can_name_a_remote_whose_results_may_come_in(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path), {})

    assert settings.remotes[0].timeout_s == 3600
    with pytest.raises(SettingsError, match="must be one of"):
        load_settings(write_config(tmp_path, caller="ELSE"), {})
    with pytest.raises(SettingsError, match="there is no model 'near'"):
        load_settings(write_config(tmp_path, model="near"), {})


def test_reports_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_NODE_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "in"
    make_ct_series(folder, slices=1)
    (path,) = folder.rglob("*.dcm")
    report = dcmread(path)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(path)

    done = CliRunner().invoke(app, ["deidentify", str(folder), str(tmp_path / "out")])

    assert done.exit_code == 1
    assert "0 of 1 written" in done.output
    assert "1 x reports and presentation states stay here" in done.output
