"""Many senders at once, and a study of a whole torso; times are told, not judged."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pydicom
import pytest
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.config import DestinationSettings, DicomPeer
from dicom_node.scu import Timeouts, associate
from tests.builders.node import run_node
from tests.builders.peers import require_program
from tests.builders.process import wait_until
from tests.builders.storescp import run_storescp, storescu
from tests.builders.tall_ct import make_tall_study

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
]

SENDERS = 50
SLICES = 300


@pytest.mark.timeout(300)
def test_fifty_associations_open_at_once_are_all_served(tmp_path: Path) -> None:
    study = make_tall_study(tmp_path / "study", slices=SENDERS)
    together = threading.Barrier(SENDERS)
    statuses: list[tuple[int, int]] = []

    # Nothing is to be grounded here: the study never falls quiet.
    with run_node(tmp_path / "node", quiet_time_s=3600) as node:

        def send(path: Path) -> None:
            contexts = [build_context(one) for one in (Verification, CTImageStorage)]
            peer = DicomPeer("node", node.ae_title, "127.0.0.1", node.dicom_port)
            # pynetdicom's own association loses answers where its thread has to wait.
            with associate(
                contexts, peer, ae_title="SENDER", timeouts=Timeouts()
            ) as link:
                together.wait(60)  # all of them are open now
                echo = link.association.send_c_echo().Status
                store = link.association.send_c_store(pydicom.dcmread(path)).Status
                statuses.append((echo, store))
                together.wait(60)  # and still are

        threads = [threading.Thread(target=send, args=(one,)) for one in study.images]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started

    assert statuses == [(0x0000, 0x0000)] * SENDERS
    _tell({"fifty_associations_s": round(seconds, 1)})


@pytest.mark.peers
@pytest.mark.timeout(900)
def test_a_study_of_300_slices_goes_through_the_whole_node(tmp_path: Path) -> None:
    for program in ("storescu", "storescp"):
        require_program(program)
    study = make_tall_study(tmp_path / "study", slices=SLICES)
    quiet_time_s = 1.0

    with run_storescp(tmp_path / "archive", ae_title="ARCHIVE") as archive:
        destination = DestinationSettings(
            name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=archive.port
        )
        with run_node(
            tmp_path / "node", destinations=[destination], quiet_time_s=quiet_time_s
        ) as node:
            started = time.monotonic()
            storescu(
                (*study.images, study.report),
                port=node.dicom_port,
                called=node.ae_title,
            )
            sent = time.monotonic()
            (document,) = node.wait_for_results(1, timeout_s=800)
            made = time.monotonic()
            wanted = {one["sop_instance_uid"] for one in document["objects"]}
            wait_until(
                lambda: wanted <= set(archive.arrivals()),
                timeout_s=120,
                what=lambda: f"the delivery\n{node.program.tail()}",
            )
            delivered = time.monotonic()

    assert wanted
    assert document["not_processed"] == []
    assert any(one["regions"] for one in document["phrases"])
    _tell(
        {
            "slices": SLICES,
            "phrases": len(document["phrases"]),
            "cores": len(os.sched_getaffinity(0)),
            "received_s": round(sent - started, 1),
            "grounded_and_written_s": round(made - sent - quiet_time_s, 1),
            "delivered_s": round(delivered - made, 1),
            "last_image_to_last_result_s": round(delivered - sent, 1),
        }
    )


def _tell(times: dict[str, float]) -> None:
    """Print times and keep them in ``artifacts/timings.json``."""
    folder = Path(__file__).parents[2] / "artifacts"
    folder.mkdir(exist_ok=True)
    path = folder / "timings.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **times}, indent=2) + "\n")
    print(json.dumps(times))
