"""Kill the node anywhere: what it acknowledged is processed and delivered once."""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.config import DicomPeer
from dicom_node.deliver import SendOutcome, Timeouts, send_objects
from dicom_node.errors import StoreError
from dicom_node.header import instance_sha256, read_header
from dicom_node.store import Store
from tests.builders.archive import Archive
from tests.builders.forked_node import ForkedNode
from tests.builders.postgres import postgres_cluster
from tests.builders.process import free_port, wait_until

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

SENDERS = 2
IMAGES = 4
QUICK = Timeouts(connect_s=1.0, associate_s=2.0, response_s=5.0)


@dataclass
class Acknowledged:
    """What the senders were told is stored: data set bytes by study and instance."""

    data: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, study: str, uid: str, data: bytes) -> None:
        with self.lock:
            self.data[study][uid] = data

    def total(self) -> int:
        with self.lock:
            return sum(len(one) for one in self.data.values())


def write_image(folder: Path, study: str, number: int, size: int) -> Path:
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{study}.{number}"
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.0"
    ds.Modality = "CT"
    ds.add_new(0x00091010, "OB", random.Random(f"{study}.{number}").randbytes(size))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{study}-{number}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def send_until_acknowledged(
    paths: list[Path],
    study: str,
    node: DicomPeer,
    acknowledged: Acknowledged,
) -> None:
    left = {path: pydicom.dcmread(path).SOPInstanceUID for path in paths}

    def note(outcome: SendOutcome) -> None:
        if outcome.is_delivered:
            path = outcome.path
            data = path.read_bytes()[read_header(path).data_set_offset :]
            acknowledged.note(study, left.pop(path), data)
        time.sleep(0.05)

    while left:
        send_objects(list(left), node, ae_title="PACS", timeouts=QUICK, on_outcome=note)
        if left:
            time.sleep(0.1)


def keep_sending(
    sender: int,
    folder: Path,
    node: DicomPeer,
    acknowledged: Acknowledged,
    stop: threading.Event,
) -> None:
    """Send a study every two seconds; every third gets an image much later."""
    draw = random.Random(sender)
    number = 0
    late: list[str] = []
    while not stop.is_set():
        number += 1
        study = f"1.2.826.{sender + 1}.{number}"
        paths = [
            write_image(folder, study, image, draw.choice([1 << 10, 1 << 17, 1 << 19]))
            for image in range(1, IMAGES + 1)
        ]
        send_until_acknowledged(paths, study, node, acknowledged)
        if late and number % 3 == 0:
            before = late.pop(0)
            image = write_image(folder, before, IMAGES + 1, 1 << 12)
            send_until_acknowledged([image], before, node, acknowledged)
        late.append(study)
        stop.wait(1.0)


@pytest.mark.parametrize(
    ("database", "kills"),
    [("sqlite", 20), pytest.param("postgresql", 10, marks=pytest.mark.peers)],
)
def test_nothing_acknowledged_is_lost_and_nothing_is_delivered_twice(
    tmp_path: Path, database: str, kills: int
) -> None:
    if database == "sqlite":
        kill_again_and_again(tmp_path, None, kills)
        return
    with postgres_cluster() as cluster:
        kill_again_and_again(tmp_path, cluster.new_database(), kills)


def kill_again_and_again(folder: Path, url: str | None, kills: int) -> None:
    draw = random.Random(20)
    acknowledged = Acknowledged()
    stop = threading.Event()
    port, data_dir = free_port(), folder / "data"
    address = DicomPeer(name="node", ae_title="GROUNDING", host="127.0.0.1", port=port)

    def slow_answer(_uid: str) -> int:
        time.sleep(0.05)
        return 0x0000

    with Archive(answer=slow_answer) as pacs, ExitStack() as nodes:
        config = folder / "node.toml"
        config.write_text(
            "[node]\n"
            f"port = {port}\n"
            f"data_dir = {json.dumps(str(data_dir))}\n"
            "quiet_time_s = 0.3\n"
            + (f"database_url = {json.dumps(url)}\n" if url else "")
            + "[web]\nenabled = false\n"
            "[limits]\nmin_free_bytes = 0\n"
            "[[destinations]]\n"
            'name = "pacs"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
            f"port = {pacs.destination.port}\n"
        )
        (folder / "sent").mkdir()
        senders = [
            threading.Thread(
                target=keep_sending,
                args=(number, folder / "sent", address, acknowledged, stop),
                daemon=True,
            )
            for number in range(SENDERS)
        ]
        for thread in senders:
            thread.start()
        seen: Counter[str] = Counter()
        node = nodes.enter_context(ForkedNode(config, folder / "node.log"))
        for number in range(kills):
            with node.running():
                # Every fifth is killed on its way up, the others in full work.
                if number % 5 == 4:
                    time.sleep(draw.uniform(0.0, 0.5))
                else:
                    node.wait_for_port(port)
                    time.sleep(draw.uniform(0.05, 1.0))
            seen.update(found_by_kill(data_dir, url))
        stop.set()
        with node.running():
            for thread in senders:
                thread.join(60)
                assert not thread.is_alive(), node.tail()
            store = Store(url or f"sqlite:///{data_dir / 'node.sqlite'}")
            wait_until(
                lambda: is_finished(store),
                timeout_s=120,
                what=lambda: f"{store.counts()}\n{node.tail()}",
            )
            leftovers = [
                *data_dir.glob("incoming/*"),
                *data_dir.glob("processing/*"),
            ]
    check_acknowledged(store, data_dir, acknowledged)
    resent = check_delivered(store, pacs, acknowledged)
    store.close()
    assert leftovers == []
    # Else the kills were too gentle to show anything.
    assert seen["work"]
    assert seen["delivery"]
    print(
        f"\n{kills} kills, {acknowledged.total()} instances acknowledged in "
        f"{len(acknowledged.data)} studies, {len(set(pacs.uids))} results delivered, "
        f"{resent} of them sent once more with the same bytes; kills during: "
        f"{dict(seen)}"
    )


def found_by_kill(data_dir: Path, url: str | None) -> set[str]:
    """Say what a kill interrupted."""
    if url is None and not (data_dir / "node.sqlite").exists():
        return {"start"}
    found = set()
    if list(data_dir.glob("incoming/*.part")):
        found.add("receive")
    with Store(url or f"sqlite:///{data_dir / 'node.sqlite'}") as store:
        try:
            counts = store.counts()
        except StoreError:  # killed before the tables were made
            return {"start"}
    if counts.queued_versions:
        found.add("work")
    if counts.deliveries.get(("pacs", "pending")):
        found.add("delivery")
    return found


def is_finished(store: Store) -> bool:
    counts = store.counts()
    return set(counts.studies) == {"done"} and {
        state for _, state in counts.deliveries
    } == {"delivered"}


def check_acknowledged(
    store: Store, data_dir: Path, acknowledged: Acknowledged
) -> None:
    """Every acknowledged instance has its row, its file and its bytes."""
    rows = {}
    last = 0
    while files := store.recorded_files(after_id=last):
        rows.update({one.path.stem: one for one in files})
        last = files[-1].instance_id
    stored = {}
    for sha256, row in rows.items():
        path = data_dir / row.path
        header = read_header(path)
        assert instance_sha256(path, header) == sha256 == row.sha256
        stored[header.sop_instance_uid] = path.read_bytes()[header.data_set_offset :]
    for instances in acknowledged.data.values():
        for uid, data in instances.items():
            assert stored[uid] == data


def check_delivered(store: Store, pacs: Archive, acknowledged: Acknowledged) -> int:
    """Every study's final result is at the archive; nothing has two UIDs or bytes."""
    by_uid: dict[str, set[bytes]] = defaultdict(set)
    images: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for study, uid, data in pacs.arrivals:
        by_uid[uid].add(hashlib.sha256(data).digest())
        ds = pydicom.dcmread(
            io.BytesIO(data), force=True, specific_tags=["ContentLabel"]
        )
        images[study][str(ds.ContentLabel)].add(uid)
    assert all(len(contents) == 1 for contents in by_uid.values())
    for study, instances in acknowledged.data.items():
        # Two objects per version: one version of so many images, not two.
        assert len(images[study][str(len(instances))]) == 2
        assert all(len(uids) == 2 for uids in images[study].values())
    snapshot = store.snapshot()
    assert {one.study_instance_uid for one in snapshot.studies} == set(
        acknowledged.data
    )
    delivered = store.counts().deliveries["pacs", "delivered"]
    assert delivered == len(by_uid)
    return len(pacs.arrivals) - len(by_uid)
