"""Two nodes on loopback: one without a model of its own, and the remote it asks."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.config import DicomPeer
from dicom_node.deidentify import KEY_FILE
from dicom_node.deliver import send_objects
from tests.builders.dicom_series import SyntheticSeries, make_ct_series
from tests.builders.process import Program, free_port, wait_until
from tests.builders.reports import make_basic_text_sr, store_document

pytestmark = [pytest.mark.slow]

_BUILDERS = Path(__file__).parents[1] / "builders"
TRACES = (b"Zyxwvut", b"90817263", b"Kjihgfed")


def settings_of(folder: Path, *, ae_title: str, port: int, more: str) -> Path:
    folder.mkdir()
    path = folder / "node.toml"
    path.write_text(
        f"""
        [node]
        ae_title = "{ae_title}"
        port = {port}
        data_dir = "{folder / "data"}"
        quiet_time_s = 1.0
        [web]
        enabled = false
        [limits]
        min_free_bytes = 0
        {more}
        """,
        encoding="utf-8",
    )
    return path


def serve(config: Path) -> Program:
    return Program(
        [sys.executable, "-m", "tests.builders.corner_node", config],
        log_path=config.with_name("node.log"),
        cwd=_BUILDERS.parents[1],
    )


def query(config: Path, sql: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(config.with_name("data") / "node.sqlite") as database:
        return database.execute(sql).fetchall()


def make_study(folder: Path) -> SyntheticSeries:
    return make_ct_series(
        folder,
        slices=4,
        changes={
            "PatientName": "Zyxwvut^Anna",
            "PatientID": "90817263",
            "InstitutionName": "Kjihgfed Hospital",
            "AccessionNumber": "A90817263",
        },
    )


def test_a_study_is_interpreted_elsewhere_and_comes_back_as_our_own(
    tmp_path: Path,
) -> None:
    near_port, far_port = free_port(), free_port()
    caller = """
        [[callers]]
        ae_title = "{}"
        address = "127.0.0.1"
    """
    near = settings_of(
        tmp_path / "near",
        ae_title="NEAR",
        port=near_port,
        more=f"""
        {caller.format("FAR")}
        {caller.format("MODALITY")}
        [[remotes]]
        name = "far"
        ae_title = "FAR"
        host = "127.0.0.1"
        port = {far_port}
        quiet_s = 1.0
        [[rules]]
        name = "all"
        model = "far"
        """,
    )
    far = settings_of(
        tmp_path / "far",
        ae_title="FAR",
        port=far_port,
        more=f"""
        [[destinations]]
        name = "near"
        ae_title = "NEAR"
        host = "127.0.0.1"
        port = {near_port}
        """,
    )
    ct = make_study(tmp_path / "ct")
    report = make_basic_text_sr(
        {"Findings": "Dr Zyxwvut saw a right pleural effusion. Left renal cyst."},
        study_uid=ct.study_instance_uid,
    )
    report.PatientID, report.PatientName = "90817263", "Zyxwvut^Anna"
    document = store_document(report, tmp_path)

    with serve(near) as here, serve(far) as there:
        here.wait_for_port(near_port, timeout_s=120)
        there.wait_for_port(far_port, timeout_s=120)
        outcomes = send_objects(
            [document.path, *ct.paths],
            DicomPeer("near", "NEAR", "127.0.0.1", near_port),
            ae_title="MODALITY",
        )
        assert all(one.is_delivered for one in outcomes)

        def is_done() -> bool:
            here.check_alive()
            there.check_alive()
            states = query(near, "select state from studies")
            return ("done",) in states or ("failed",) in states

        wait_until(
            is_done, timeout_s=120, what=lambda: f"{here.tail()}\n{there.tail()}"
        )
        # The other node's results are committed to, though they are in no study.
        wait_until(
            lambda: (
                not query(far, "select 1 from deliveries where state != 'delivered'")
            ),
            timeout_s=60,
            what=there.tail,
        )

    traces = (*TRACES, ct.study_instance_uid.encode())
    # Elsewhere nothing names the patient: in no file, row or log.
    for path in (tmp_path / "far").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [one for one in traces if one in data], path
    # Here the study is the only one, and its objects are about the original images.
    assert query(near, "select study_instance_uid, state from studies") == [
        (ct.study_instance_uid, "done")
    ]
    assert query(
        near, "select count(*) from remote_studies where state = 'answered'"
    ) == [(1,)]
    (written,) = (tmp_path / "near" / "data").glob("results/*/result.json")
    result = json.loads(written.read_text())
    assert result["model"]["name"] == "corner"
    assert result["not_processed"] == []
    assert [bool(one["regions"]) for one in result["phrases"]] == [True, True]
    assert result["phrases"][0]["text"] == "right pleural effusion"
    originals = {one.sop_instance_uid for one in ct.instances}
    for one in result["objects"]:
        ds = dcmread(written.parent / one["path"])
        assert (ds.PatientID, ds.StudyInstanceUID) == (
            "90817263",
            ct.study_instance_uid,
        )
    seg = dcmread(next(written.parent.rglob("seg*.dcm")))
    used = {
        str(source.ReferencedSOPInstanceUID)
        for group in seg.PerFrameFunctionalGroupsSequence
        for source in group.DerivationImageSequence[0].SourceImageSequence
    }
    assert used <= originals
    key = tmp_path / "near" / "data" / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    kinds = [row[0] for row in query(near, "select kind from events")]
    assert kinds.count("study_exported") == kinds.count("remote_answered") == 1
