"""`dicom-node ground` as a person types it, with the bundled model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.cli import main
from tests.builders.dicom_series import make_ct_series

REPORT = "FINDINGS: The liver is enlarged. No ascites.\n"


@pytest.fixture
def ground(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        words = ["dicom-node", "ground", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


def _document(folder: str = "out") -> dict[str, object]:
    document: dict[str, object] = json.loads(Path(folder, "result.json").read_text())
    return document


def test_a_study_becomes_objects_in_a_folder_named_from_here(ground):
    make_ct_series(Path("in"), slices=4)
    Path("report.txt").write_text(REPORT)

    code, out, _ = ground("in", "--report", "report.txt", "--out", "out")

    assert code == 0
    assert out.strip().endswith("result.json")
    document = _document()
    assert [one["status"] for one in document["phrases"]] == ["present", "absent"]
    for one in document["objects"]:
        assert (
            dcmread(Path("out", one["path"])).SOPInstanceUID
            == (one["sop_instance_uid"])
        )


def test_the_next_run_leaves_nothing_of_the_last(ground):
    make_ct_series(Path("in"), slices=4)
    ground("in", "-p", "liver", "--out", "out")
    first = {one["sop_instance_uid"] for one in _document()["objects"]}

    code, _, _ = ground("in", "-p", "left lung", "--out", "out")

    assert code == 0
    found = {dcmread(path).SOPInstanceUID for path in Path("out").glob("*.dcm")}
    assert found == {one["sop_instance_uid"] for one in _document()["objects"]}
    assert not found & first


def test_one_report_is_not_put_on_two_studies(ground):
    make_ct_series(Path("in/a"), slices=1, study_uid="1.2.3.1")
    make_ct_series(Path("in/b"), slices=1, study_uid="1.2.3.2")
    Path("report.txt").write_text(REPORT)

    code, _, err = ground("in", "--report", "report.txt", "--out", "out")

    assert code == 2
    assert "one study" in err
    assert not Path("out").exists()


def test_what_is_left_out_is_named_without_its_name(ground):
    make_ct_series(Path("in"), slices=2)
    Path("in/DOE^JOHN.txt").write_text("a letter")

    code, _, err = ground("in", "-p", "liver", "--out", "out")

    assert code == 1
    assert "DOE^JOHN.txt" in err  # the person's own file, on the person's own screen
    (left_out,) = _document()["not_processed"]
    assert "DOE" not in json.dumps(left_out)


def test_the_destinations_decide_which_objects_are_made(ground):
    make_ct_series(Path("in"), slices=2)
    Path("node.toml").write_text(
        "[[destinations]]\nname='a'\nae_title='A'\nhost='h'\nport=1\nprofile='ohif'\n"
        "[[destinations]]\nname='b'\nae_title='B'\nhost='h'\nport=1\n"
    )

    code, _, _ = ground("in", "-p", "liver", "-c", "node.toml", "--out", "out")

    assert code == 0
    paths = [one["path"] for one in _document()["objects"]]
    assert "sr.dcm" in paths
    assert "default/sr.dcm" in paths


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "", "--out", "out"], "phrase"),
        (["--out", "in/file"], "--out"),
    ],
)
def test_bad_usage_ends_with_two(ground, arguments, said):
    make_ct_series(Path("in/study"), slices=1)
    Path("in/file").write_text("taken")

    code, _, err = ground("in/study", *arguments)

    assert code == 2
    assert said in err
    assert "Traceback" not in err
