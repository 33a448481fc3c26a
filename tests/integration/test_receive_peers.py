"""DCMTK's programs as callers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest

from conformance.profile import Status
from dicom_node.header import read_header
from dicom_node.opendata import fetch_totalsegmentator
from tests.builders.dicom_series import make_ct_series
from tests.builders.dicom_server import RunningServer, running_server
from tests.builders.peers import require_program

pytestmark = pytest.mark.peers

_COMPRESSORS = {
    "1.2.840.10008.1.2.4.50": ("dcmcjpeg", ["+eb"], "-xy"),
    "1.2.840.10008.1.2.4.70": ("dcmcjpeg", ["+e1"], "-xs"),
    "1.2.840.10008.1.2.4.80": ("dcmcjpls", ["+el"], "-xt"),
    "1.2.840.10008.1.2.5": ("dcmcrle", [], "-xr"),
}
"""Transfer syntax to the program that makes it and the option that proposes it."""


def _run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_program(name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _storescu(node: RunningServer, *arguments: str | Path) -> str:
    done = _run(
        "storescu",
        *("-v", "-aet", "PACS", "-aec", "GROUNDING", "-R"),
        *arguments[:-1],
        *("127.0.0.1", str(node.port)),
        arguments[-1],
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    return output


def test_echoscu_is_answered(tmp_path: Path) -> None:
    with running_server(tmp_path) as node:
        done = _run("echoscu", "-v", "-aec", "GROUNDING", "127.0.0.1", str(node.port))
        wrong = _run("echoscu", "-v", "-aec", "OTHER", "127.0.0.1", str(node.port))

    assert done.returncode == 0
    assert "Received Echo Response (Success)" in done.stdout + done.stderr
    assert "Called AE Title Not Recognized" in wrong.stdout + wrong.stderr


@pytest.mark.parametrize("syntax", sorted(_COMPRESSORS))
def test_storescu_sends_compressed_images_that_are_kept_as_they_came(
    tmp_path: Path, syntax: str
) -> None:
    program, options, proposal = _COMPRESSORS[syntax]
    source = make_ct_series(tmp_path / "source", slices=1).paths[0]
    if syntax.endswith(".50"):
        source = _with_eight_bits(source)
    compressed = tmp_path / "compressed.dcm"
    made = _run(program, *options, source, compressed)
    assert made.returncode == 0, made.stderr

    with running_server(tmp_path / "node") as node:
        output = _storescu(node, proposal, compressed)
        (kept,) = node.files()
        header = read_header(kept)

    assert "Received Store Response (Success)" in output
    assert header.transfer_syntax_uid == syntax
    sent = pydicom.dcmread(compressed)
    ours = pydicom.dcmread(kept)
    assert ours.PixelData == sent.PixelData
    assert (ours.pixel_array == sent.pixel_array).all()


@pytest.mark.parametrize("proposal", ["-xe", "-xb", "-xi"])
def test_storescu_sends_uncompressed_images(tmp_path: Path, proposal: str) -> None:
    series = make_ct_series(tmp_path / "source", slices=3)
    with running_server(tmp_path / "node") as node:
        _storescu(node, proposal, "+sd", tmp_path / "source")

        kept = {read_header(path).sop_instance_uid: path for path in node.files()}

    for path in series.paths:
        sent = pydicom.dcmread(path)
        ours = pydicom.dcmread(kept[str(sent.SOPInstanceUID)])
        assert (ours.pixel_array == sent.pixel_array).all()


def test_the_real_ct_without_study_and_series_uids_comes_together(
    tmp_path: Path,
) -> None:
    folder = fetch_totalsegmentator() / "example_ct_dicom"
    source = tmp_path / "source"
    source.mkdir()
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        # Its data sets do not even name class and instance; storescu insists.
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
        assert not ds.StudyInstanceUID
        ds.save_as(source / path.name)
    count = len(list(source.iterdir()))

    with running_server(tmp_path / "node") as node:
        output = _storescu(node, "-xv", "+sd", source)
        _storescu(node, "-xv", "+sd", source)

        assert output.count("Received Store Response (Success)") == count == 20
        headers = [read_header(path) for path in node.files()]
        assert node.server.statistics.instances == {
            "new": count,
            "duplicate": count,
            "conflict": 0,
        }
        assert len(headers) == count
        assert {one.transfer_syntax_uid for one in headers} == {
            "1.2.840.10008.1.2.4.90"
        }
        assert len({one.study_instance_uid for one in headers}) == 1
        assert len({one.series_instance_uid for one in headers}) == 1


def test_storescu_is_told_when_there_is_no_room(tmp_path: Path) -> None:
    path = make_ct_series(tmp_path / "source", slices=1).paths[0]
    with running_server(tmp_path / "node", min_free_bytes=1 << 60) as node:
        done = _run(
            "storescu",
            *("-v", "-aec", "GROUNDING", "127.0.0.1", str(node.port)),
            path,
        )

    output = done.stdout + done.stderr
    assert "Refused: OutOfResources" in output
    assert node.server.statistics.instances_refused == {Status.OUT_OF_RESOURCES: 1}


def _with_eight_bits(path: Path) -> Path:
    ds = pydicom.dcmread(path)
    ds.PixelData = bytes(value & 0xFF for value in ds.PixelData[::2])
    ds["PixelData"].VR = "OW"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.RescaleIntercept = 0
    out = path.with_name("eight.dcm")
    ds.save_as(out)
    return out
