from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dicom_node import __version__
from dicom_node.cli import main

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


@pytest.mark.parametrize("command", ["serve", "status", "doctor"])
def test_an_unknown_key_is_bad_usage_and_named(run, tmp_path, command):
    config = tmp_path / "node.toml"
    config.write_text("[node]\nprot = 1\n")

    code, _, err = run(command, "--config", config)

    assert code == 2
    assert "node.prot: unknown key" in err


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
