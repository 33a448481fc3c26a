from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import pydicom
import pytest

from dicom_node import __version__
from dicom_node.cli import main
from tests.builders.dicom_series import make_ct_series

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command as a shell would: exit code, standard output and error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dicom-node", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["serve", "ground", "send", "status", "requeue", "doctor", "demo"]),
        (["serve"], ["--config"]),
        (["ground"], ["--phrase", "--report", "--out", "--config"]),
        (["send"], ["--to", "--from", "AET@HOST:PORT"]),
        (["status"], ["--json"]),
        (["requeue"], ["STUDY"]),
        (["conformance"], ["statement", "check"]),
    ],
)
def test_help_names_everything(run, command, words):
    code, out, _ = run(*command, "--help")

    assert code == 0
    for word in words:
        assert word in out


def test_the_version_is_told(run):
    assert run("--version") == (0, f"dicom-node {__version__}\n", "")


def test_a_report_is_not_dropped_for_phrases(run, tmp_path):
    (tmp_path / "report.txt").write_text("No ascites.")

    code, _, err = run(
        *("ground", tmp_path, "--out", tmp_path / "out", "--phrase", "spleen"),
        *("--report", tmp_path / "report.txt"),
    )

    assert code == 2
    assert "in the place of a report" in err


@pytest.mark.parametrize("command", ["serve", "status", "doctor"])
def test_an_unknown_key_is_bad_usage_and_named(run, tmp_path, command):
    config = tmp_path / "node.toml"
    config.write_text("[node]\nprot = 1\n")

    code, _, err = run(command, "--config", config)

    assert code == 2
    assert "node.prot: there is no such key; did you mean port?" in err


def test_a_missing_path_is_bad_usage(run, tmp_path):
    code, _, err = run("ground", tmp_path / "absent", "--out", tmp_path / "out")

    assert code == 2
    assert "no such file" in err


def test_a_report_that_cannot_be_read_is_bad_usage(run, tmp_path):
    code, _, err = run(
        "ground", tmp_path, "--report", tmp_path / "absent.txt", "--out", tmp_path
    )

    assert code == 2
    assert "absent.txt" in err


def test_files_that_are_no_study_are_named(run, tmp_path):
    (tmp_path / "note.txt").write_text("nothing")

    code, _, err = run("ground", tmp_path / "note.txt", "--out", tmp_path / "out")

    assert code == 1
    assert "note.txt: " in err


@pytest.mark.parametrize("address", ["PACS", "PACS@host", "PACS@host:x", "@h:104"])
def test_a_destination_that_is_none_is_bad_usage(run, tmp_path, address):
    (tmp_path / "one.dcm").write_bytes(b"")

    code, _, err = run("send", tmp_path, "--to", address)

    assert code == 2
    assert err.startswith("error: ")


def test_a_status_without_a_node_says_so(run, monkeypatch, tmp_path):
    monkeypatch.setenv("DICOM_NODE_NODE_DATA_DIR", str(tmp_path / "absent"))

    code, _, err = run("status")

    assert code == 1
    assert "there is no node here" in err
    assert not (tmp_path / "absent").exists()


def test_a_fresh_node_has_an_empty_status(run, monkeypatch, tmp_path):
    from dicom_node.store import Store

    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
        store.migrate()
    monkeypatch.setenv("DICOM_NODE_NODE_DATA_DIR", str(tmp_path))

    code, out, _ = run("status", "--json")

    assert code == 0
    assert json.loads(out)["studies"] == []


def test_the_statement_is_the_one_in_the_documents(run):
    code, out, _ = run("conformance", "statement")

    assert code == 0
    assert out == (ROOT / "docs" / "conformance-statement.md").read_text()


def test_a_file_that_breaks_rules_is_invalid(run, tmp_path):
    (tmp_path / "broken.dcm").write_bytes(b"no object")

    code, out, _ = run("conformance", "check", tmp_path / "broken.dcm")

    assert code == 1
    assert "broken.dcm: invalid" in out


def test_the_settings_are_listed(run):
    code, out, _ = run("settings")

    assert code == 0
    assert out == (ROOT / "docs" / "settings.md").read_text()


# The doctor tells a data folder that cannot be used among its findings.
_DATA_DIR = ("[node]\ndata_dir = '{folder}/file/data'\n", "node.data_dir")
_ENGINE = ("[model]\nengine = 'gpt'\n", "model.engine")
_SCHEME = ("[node]\ndatabase_url = 'postgres://me:ZZSECRET@host/x'\n", "database_url")
_NO_URL = ("[node]\ndatabase_url = 'not a url'\n", "node.database_url")


@pytest.mark.parametrize(
    ("command", "text", "named"),
    [
        ("serve", *_DATA_DIR),
        *(
            (command, *case)
            for command in ("serve", "doctor")
            for case in (_ENGINE, _SCHEME, _NO_URL)
        ),
    ],
)
def test_settings_that_cannot_be_used_are_named_at_start(
    run, tmp_path, command, text, named
):
    (tmp_path / "file").write_bytes(b"in the way")
    config = tmp_path / "node.toml"
    config.write_text(text.replace("{folder}", str(tmp_path)))
    if named != "node.data_dir":
        with config.open("a") as file:
            if "[node]" not in text:
                file.write("[node]\n")
            file.write(f"data_dir = '{tmp_path / 'data'}'\n")

    code, out, err = run(command, "--config", config)

    assert code == 2
    assert err.startswith("error: ")
    assert named in err
    assert "ZZSECRET" not in out + err


@pytest.mark.parametrize("title", ["A" * 17, "", "A\\B", "\u00c4"])
def test_a_calling_title_that_is_none_is_bad_usage(run, tmp_path, title):
    (tmp_path / "one.dcm").write_bytes(b"")

    code, _, err = run("send", tmp_path, "--to", "PACS@127.0.0.1:104", "--from", title)

    assert code == 2
    assert "1 to 16 printable ASCII characters" in err


def test_a_broken_value_is_not_told_on_the_terminal(run, tmp_path):
    made = make_ct_series(tmp_path / "ct", slices=3, rows=16, columns=16)
    for path in sorted((tmp_path / "ct").rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            ds.PatientName = "ZZCANARY^" + "A" * 80
            ds.ReferringPhysicianName = "ZZCANARY=a=b=c=d"
            ds.FrameOfReferenceUID = "1.2.ZZCANARY"
            ds.PatientBirthDate = "ZZCANARY"
            ds.StudyID = "ZZCANARY-" + "9" * 30
            ds.save_as(path)

    code, out, err = run("ground", tmp_path / "ct", "-o", tmp_path / "out", "-p", "x")

    assert len(made.instances) == 3
    assert code in {0, 1}
    assert "ZZCANARY" not in out + err


def test_libraries_that_warn_are_not_heard(run, monkeypatch):
    def noisy(*_arguments):
        for name in ("pydicom", "pydicom.dataset", "pynetdicom.acse", "highdicom"):
            logging.getLogger(name).warning("ZZCANARY")
        warnings.warn("ZZCANARY", stacklevel=1)
        return "# page"

    monkeypatch.setattr("dicom_node.commands.settings_page.render_settings", noisy)

    assert run("settings") == (0, "# page", "")


def test_a_folder_is_judged_by_its_objects_alone(run, tmp_path):
    (tmp_path / "overlay.png").write_bytes(b"a picture")

    assert run("conformance", "check", tmp_path)[0] == 0
