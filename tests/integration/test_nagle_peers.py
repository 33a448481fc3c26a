"""Sending to an archive that holds small pieces back, as DCMTK does, is quick."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.config import DicomPeer
from dicom_node.deliver import send_objects
from tests.builders.peers import require_program
from tests.builders.process import Program, free_port
from tests.builders.raw_peer import make_instance

pytestmark = pytest.mark.peers

_OBJECTS = 30


def test_objects_do_not_wait_for_either_end_of_a_connection(tmp_path: Path) -> None:
    """Each would take 44 ms for our part, and 44 ms more for the archive's."""
    paths = []
    for number in range(_OBJECTS):
        ds = make_instance(f"1.2.3.4.{number}")
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(tmp_path / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    port = free_port()
    kept = tmp_path / "kept"
    kept.mkdir()
    command: list[str | Path] = [
        require_program("storescp"),
        "--output-directory",
        kept,
        str(port),
    ]
    with Program(command, log_path=tmp_path / "storescp.log") as archive:
        archive.wait_for_port(port)
        peer = DicomPeer("archive", "STORESCP", "127.0.0.1", port)
        began = time.monotonic()
        outcomes = send_objects(paths, peer, ae_title="NODE")
        took_s = time.monotonic() - began

    assert all(one.status == 0 for one in outcomes)
    assert took_s < _OBJECTS * 0.033
