"""`dicom-node report` and what `status` tells of reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.records import ReportStatus
from dicom_node.store import Store
from tests.builders.stores import received


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\ndata_dir = "{tmp_path / "data"}"\n')
    with Store(f"sqlite:///{tmp_path / 'data' / 'node.sqlite'}") as store:
        store.migrate()
    (tmp_path / "report.txt").write_text("FINDINGS: Ascites.")
    return path


def run(config: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    error = "" if result.exception is None else str(result.exception)
    return result.exit_code, " ".join((result.output + error).split())


def test_a_handed_in_report_waits_and_then_meets_its_images(
    config: Path, tmp_path: Path
) -> None:
    report = str(tmp_path / "report.txt")

    code, said = run(config, "report", report, "--accession", "A1")
    assert code == 0
    assert said.endswith("report 1: it waits for its images")
    assert "1 report waits for its images" in run(config, "status")[1]
    _, values = run(config, "status", "--json")
    assert json.loads(values)["waiting_reports"] == 1

    with Store(f"sqlite:///{tmp_path / 'data' / 'node.sqlite'}") as store:
        store.record_instance(received(study={"AccessionNumber": "A1"}))
    # Another name may mean another study: only the same name is the same report.
    _, other = run(config, "report", report, "--study", "1.2.3")
    assert other.endswith("report 2: its study has it")
    _, again = run(config, "report", report, "--study", "1.2.3")
    assert again.endswith("report 2: it was there already: nothing changes")
    _, new = run(
        config, "report", report, "--study", "1.2.3", "--status", "preliminary"
    )
    assert new.endswith("report 3: its study has it")

    with Store(f"sqlite:///{tmp_path / 'data' / 'node.sqlite'}") as store:
        kept = store.reports.of_study("1.2.3")
    assert [(one.status, one.is_current) for one in kept] == [
        (ReportStatus.FINAL, True),  # the second says the same: nothing changes
        (ReportStatus.FINAL, False),
        (ReportStatus.PRELIMINARY, False),
    ]


def test_a_report_about_nothing_and_a_status_of_none_are_refused(
    config: Path, tmp_path: Path
) -> None:
    report = str(tmp_path / "report.txt")

    code, said = run(config, "report", report)
    assert code != 0
    assert "names neither a Study Instance UID nor an accession number" in said

    code, said = run(config, "report", report, "--study", "1", "--status", "done")
    assert code == 2


def test_waiting_reports_are_listed_and_forgotten_without_what_they_say(
    config: Path, tmp_path: Path
) -> None:
    assert run(config, "reports", "waiting") == (0, "no report waits")
    run(config, "report", str(tmp_path / "report.txt"), "--accession", "SECRET-7")

    code, listed = run(config, "reports", "waiting")
    assert code == 0
    assert "command line" in listed
    assert "by accession" in listed
    assert "SECRET-7" not in listed
    assert "Ascites" not in listed
    assert run(config, "reports", "forget", "1") == (0, "report 1 is deleted")

    code, said = run(config, "reports", "forget", "1")
    assert (code, "no report of that number waits" in said) == (1, True)
    assert json.loads(run(config, "status", "--json")[1])["waiting_reports"] == 0


def test_a_uid_stays_whole_where_the_output_is_read_by_programs(
    config: Path, tmp_path: Path
) -> None:
    uid = "1.2.826.0.1.3680043.10.1234." + "7" * 36
    run(config, "report", str(tmp_path / "report.txt"), "--study", uid)

    told = subprocess.run(
        [sys.executable, "-m", "dicom_node", "reports", "waiting", "-c", str(config)],
        check=True,
        capture_output=True,
        text=True,
        env={key: one for key, one in os.environ.items() if key != "COLUMNS"},
    )

    assert uid in told.stdout
