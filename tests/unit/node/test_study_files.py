from __future__ import annotations

import shutil

import pydicom
import pytest

from dicom_node.commands.study_files import gather_studies, list_files
from tests.builders.dicom_series import make_ct_series


def test_files_of_a_study_become_one_version(tmp_path):
    series = make_ct_series(tmp_path / "in", slices=3)

    gathered = gather_studies([tmp_path / "in"])

    (study,) = gathered.studies
    assert study.study_instance_uid == series.study_instance_uid
    assert {one.sop_instance_uid for one in study.instances} == {
        one.sop_instance_uid for one in series.instances
    }
    assert gathered.left_out == ()


def test_the_order_of_files_does_not_change_the_version(tmp_path):
    make_ct_series(tmp_path / "in", slices=3)
    files = list_files([tmp_path / "in"])

    forward = gather_studies(files).studies[0]
    backward = gather_studies(files[::-1]).studies[0]

    assert forward == backward


def test_a_copy_counts_once(tmp_path):
    make_ct_series(tmp_path / "in", slices=2)
    first = list_files([tmp_path / "in"])[0]
    shutil.copy(first, tmp_path / "in" / "copy.dcm")

    gathered = gather_studies([tmp_path / "in"])

    assert len(gathered.studies[0].instances) == 2
    assert gathered.left_out == ()


def test_other_bytes_under_one_uid_are_named(tmp_path):
    make_ct_series(tmp_path / "in", slices=2)
    first = list_files([tmp_path / "in"])[0]
    dataset = pydicom.dcmread(first)
    dataset.InstanceNumber = 99
    dataset.save_as(tmp_path / "in" / "zz.dcm")

    gathered = gather_studies([tmp_path / "in"])

    assert len(gathered.studies[0].instances) == 2
    (left_out,) = gathered.left_out
    assert "same SOP Instance UID" in left_out.reason.reason
    assert left_out.study_instance_uid == gathered.studies[0].study_instance_uid
    backward = gather_studies(list_files([tmp_path / "in"])[::-1])
    assert backward.studies == gathered.studies


@pytest.mark.parametrize("content", [b"", b"not dicom", b"\0" * 128 + b"DICM"])
def test_a_file_that_is_no_instance_is_named(tmp_path, content):
    (tmp_path / "note.txt").write_bytes(content)

    gathered = gather_studies([tmp_path])

    assert gathered.studies == ()
    (left_out,) = gathered.left_out
    assert left_out.path.name == "note.txt"
    assert "note" not in left_out.reason.reason


def test_two_studies_are_kept_apart(tmp_path):
    make_ct_series(tmp_path / "a", slices=1, study_uid="1.2.3.1")
    make_ct_series(tmp_path / "b", slices=1, study_uid="1.2.3.2")

    gathered = gather_studies([tmp_path])

    assert [one.study_instance_uid for one in gathered.studies] == [
        "1.2.3.1",
        "1.2.3.2",
    ]


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        list_files([tmp_path / "absent"])
