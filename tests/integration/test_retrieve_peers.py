"""Real archives complete a study: Orthanc and DCMTK, over DIMSE and DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, JPEG2000Lossless

from dicom_node.config import ArchiveSettings, DicomPeer, NodeSettings
from dicom_node.deliver import send_objects
from dicom_node.service import NodeService
from dicom_node.store import StudyState
from tests.builders.dcmqrscp import run_dcmqrscp
from tests.builders.network import loopback_network
from tests.builders.orthanc import run_orthanc
from tests.builders.peers import cannot_run, require_program
from tests.builders.process import free_port, wait_until
from tests.builders.qr_archive import instance
from tests.builders.study_processor import QuickProcessor

pytestmark = pytest.mark.peers

QUIET_S = 0.3


@pytest.fixture(autouse=True, scope="module")
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicom_node.assembly._SETTLE", timedelta(seconds=QUIET_S))
        patch.setattr("dicom_node.service.work._STOP_GRACE_S", 1)
        patch.setattr("dicom_node.workflows.workflows.POLLING_S", 0.05)
        yield


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    require_program("ip")
    block = loopback_network()
    try:
        block.__enter__()
    except PermissionError:
        cannot_run("only root can make the network namespace that Orthanc runs in")
    try:
        yield
    finally:
        block.__exit__(None, None, None)


@pytest.fixture(scope="module")
def node_port(network: None) -> int:
    return free_port()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two CT series, one of them JPEG 2000, a report, and a prior with one."""
    folder = tmp_path_factory.mktemp("study")
    made = [
        *(image(number) for number in (1, 2, 3)),
        *(image(number, series=2, compress=True) for number in (1, 2)),
        instance(series=3, sop_class=BasicTextSRStorage, Modality="SR"),
        image(1, study="1.9", StudyDate="20250101"),
        instance(
            "1.9",
            series=2,
            sop_class=BasicTextSRStorage,
            Modality="SR",
            StudyDate="20250101",
        ),
    ]
    paths = []
    for one in made:
        path = folder / f"{one.SOPInstanceUID}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def image(
    number: int,
    *,
    study: str = "1.2.3",
    series: int = 1,
    compress: bool = False,
    **attributes: str,
) -> Dataset:
    ds = instance(study, number, series=series, **attributes)
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.SeriesNumber = series
    ds.StudyID = "1"
    ds.AccessionNumber = "A1"
    pixels = np.arange(4096, dtype="<u2").reshape(64, 64)
    ds.PixelData = pixels.tobytes()
    if compress:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    return ds


@pytest.fixture(scope="module")
def orthanc(
    node_port: int, study: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, object]]:
    require_program("Orthanc")
    with run_orthanc(
        tmp_path_factory.mktemp("orthanc"),
        dicom_port=free_port(),
        http_port=free_port(),
        modalities={"node": ("GROUNDING", "127.0.0.1", node_port)},
    ) as running:
        for path in study:
            running.store(path)
        yield {
            "ae_title": "ORTHANC",
            "port": running.dicom_port,
            "url": f"http://127.0.0.1:{running.http_port}/dicom-web",
        }


@pytest.fixture(scope="module")
def dcmtk(
    node_port: int, study: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, object]]:
    """Run DCMTK's archive with what is compressed and what is not."""
    options = ["--prefer-j2k-lossless"]
    with _dcmtk(tmp_path_factory.mktemp("mixed"), study, node_port, options) as one:
        yield one


@pytest.fixture(scope="module")
def plain_dcmtk(
    node_port: int, study: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, object]]:
    """Run DCMTK's archive without what it cannot send by C-MOVE beside the rest."""
    plain = [one for one in study if not one.name.startswith("1.2.3.2.")]
    with _dcmtk(tmp_path_factory.mktemp("plain"), plain, node_port, []) as one:
        yield one


@contextmanager
def _dcmtk(
    folder: Path, study: list[Path], node_port: int, options: list[str]
) -> Iterator[dict[str, object]]:
    require_program("dcmqrscp")
    with run_dcmqrscp(folder, node_port=node_port, options=options) as port:
        peer = DicomPeer("dcmqrscp", "DCMQRSCP", "127.0.0.1", port)
        outcomes = send_objects(study, peer, ae_title="PACS")
        assert all(one.is_delivered for one in outcomes), outcomes
        yield {"ae_title": "DCMQRSCP", "port": port, "study": study}


@contextmanager
def running(
    folder: Path, archive: ArchiveSettings, *, port: int, processor: QuickProcessor
) -> Iterator[NodeService]:
    settings = NodeSettings.model_validate(
        {
            "node": {"port": port, "data_dir": folder / "d", "quiet_time_s": QUIET_S},
            "web": {"enabled": False},
            "limits": {"min_free_bytes": 0},
            "archives": [archive.model_dump()],
        }
    )
    with NodeService(settings, processor=processor) as node:
        yield node


@pytest.mark.parametrize(
    ("peer", "kind"),
    [
        ("orthanc", "c-get"),
        ("orthanc", "c-move"),
        ("orthanc", "dicomweb"),
        ("dcmtk", "c-get"),
        ("plain_dcmtk", "c-move"),
    ],
)
def test_a_real_archive_completes_a_study_and_brings_its_prior(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    study: list[Path],
    node_port: int,
    peer: str,
    kind: str,
) -> None:
    where = request.getfixturevalue(peer)
    study = where.get("study", study)
    processor = QuickProcessor()
    values = {"name": peer, "kind": kind, "fetch": ("series", "reports", "priors")}
    if kind == "dicomweb":
        values["url"] = where["url"]
    else:
        values |= {
            "host": "127.0.0.1",
            "ae_title": where["ae_title"],
            "port": where["port"],
        }
    archive = ArchiveSettings(**values)
    with running(tmp_path, archive, port=node_port, processor=processor) as node:
        to_us = DicomPeer("node", "GROUNDING", "127.0.0.1", node.port)
        (outcome,) = send_objects(study[:1], to_us, ae_title="PACS")
        assert outcome.is_delivered

        def is_done() -> bool:
            return any(
                one.study_instance_uid == "1.2.3" and one.state == StudyState.DONE
                for one in node.store.snapshot().studies
            )

        wait_until(is_done, timeout_s=60, what="the study")
        retrievals = node.store.retrievals.of_study("1.2.3")

    (ready,) = processor.processed
    (prior,) = ready.priors
    received = {
        one.sop_instance_uid: one for one in (*ready.instances, *prior.instances)
    }
    assert [(one.asked, one.arrived, one.reason) for one in retrievals] == [
        (len(study) - 1, len(study) - 1, ""),
        (0, 0, ""),
    ]
    assert len(ready.instances) == len(study) - 2
    assert len(prior.instances) == 2
    for path in study:
        sent = pydicom.dcmread(path)
        kept = pydicom.dcmread(received[sent.SOPInstanceUID].path)
        if "PixelData" in sent:
            syntax = kept.file_meta.TransferSyntaxUID
            assert syntax == sent.file_meta.TransferSyntaxUID
            assert np.array_equal(kept.pixel_array, sent.pixel_array)
