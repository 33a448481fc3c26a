"""The node as the one who commits: pynetdicom asks, on real sockets."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from conformance.profile import ASSOCIATION_LIMITS
from dicom_node import commitment
from dicom_node.commitment import CommitmentService, peer_of
from dicom_node.config import NodeSettings
from dicom_node.records import ReceivedInstance
from dicom_node.scu import Timeouts
from dicom_node.store import InstanceOutcome, Store
from tests.builders.dicom_server import MemoryLedger, RunningServer, running_server
from tests.builders.process import free_port
from tests.builders.raw_peer import (
    CT_IMAGE_STORAGE,
    EXPLICIT_LITTLE,
    RawPeer,
    associate_request,
    encode_data_set,
    item,
    make_instance,
    p_data,
)
from tests.builders.stores import NOON

MR = "1.2.840.10008.5.1.4.1.1.4"
UIDS = ("1.2.3.1", "1.2.3.2")


class StoreLedger(MemoryLedger):
    """Records instances in the real store."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def record_instance(self, instance: ReceivedInstance) -> InstanceOutcome:
        return self.store.record_instance(instance)


@dataclass
class Node:
    """A node with instances 1.2.3.1 and 1.2.3.2."""

    server: RunningServer
    store: Store
    service: CommitmentService
    now: datetime = NOON

    @property
    def port(self) -> int:
        return self.server.port


@contextmanager
def node(folder: Path, *callers: dict[str, object]) -> Iterator[Node]:
    settings = NodeSettings.model_validate(
        {"node": {"data_dir": folder}, "callers": list(callers)}
    )
    with Store(f"sqlite:///{folder / 'node.sqlite'}") as store:
        store.migrate()
        service = CommitmentService(
            settings,
            store,
            clock=lambda: made.now,
            on_report=lambda _ae_title, _address, _report: False,
            timeouts=Timeouts(connect_s=2, associate_s=2, response_s=2),
        )
        with running_server(
            folder, ledger=StoreLedger(store), commitments=service
        ) as server:
            made = Node(server, store, service)
            with RawPeer(server.port) as peer:
                peer.associate()
                for uid in UIDS:
                    assert peer.store(make_instance(uid)).status == 0
            yield made


def request(*references: tuple[str, str], transaction: str = "2.25.7") -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = []
    for sop_class, uid in references or [(CT_IMAGE_STORAGE, one) for one in UIDS]:
        one = Dataset()
        one.ReferencedSOPClassUID = sop_class
        one.ReferencedSOPInstanceUID = uid
        ds.ReferencedSOPSequence.append(one)
    return ds


@dataclass
class Modality:
    """An application entity that asks, and what it is told."""

    port: int
    reports: list[Dataset]
    event_types: list[int]
    told: threading.Event
    answer: Callable[[], int]

    def take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(event.event_information)
        self.event_types.append(event.request.EventTypeID)
        self.told.set()
        return self.answer(), None

    def ask(self, ds: Dataset, port: int, *, stays: bool = True) -> int | None:
        """Ask for commitment; stay on the association until it is told."""
        entity = AE("PACS")
        association = entity.associate(
            "127.0.0.1",
            port,
            ae_title="GROUNDING",
            contexts=[build_context(StorageCommitmentPushModel)],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)],
        )
        assert association.is_established
        status, _ = association.send_n_action(
            ds, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        if stays:
            assert self.told.wait(5)
        association.release()
        return status.get("Status")

    def failures(self) -> dict[str, int]:
        found = self.reports[-1].get("FailedSOPSequence") or []
        return {str(one.ReferencedSOPInstanceUID): one.FailureReason for one in found}

    def committed(self) -> list[str]:
        found = self.reports[-1].get("ReferencedSOPSequence") or []
        return [str(one.ReferencedSOPInstanceUID) for one in found]


@contextmanager
def modality(answer: Callable[[], int] = lambda: 0) -> Iterator[Modality]:
    made = Modality(free_port(), [], [], threading.Event(), answer)
    entity = AE("PACS")
    entity.add_supported_context(
        StorageCommitmentPushModel, scu_role=False, scp_role=True
    )
    server = entity.start_server(
        ("127.0.0.1", made.port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, made.take)],
    )
    try:
        yield made
    finally:
        server.shutdown()


def caller(port: int) -> dict[str, object]:
    return {"ae_title": "PACS", "address": "127.0.0.1", "port": port}


def states(store: Store) -> list[tuple[str, int]]:
    with store._database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT state, attempts FROM commitments ORDER BY id"
        )
        return [(row[0], row[1]) for row in rows]


def test_a_caller_without_a_port_is_told_on_its_association(tmp_path: Path) -> None:
    with modality() as peer, node(tmp_path) as here:
        status = peer.ask(request(), here.port)

        assert status == 0
        assert peer.event_types == [1]
        assert peer.reports[0].TransactionUID == "2.25.7"
        assert peer.committed() == list(UIDS)
        assert peer.failures() == {}
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
        assert states(store) == [("reported", 0)]


def test_a_caller_with_a_port_is_told_there(tmp_path: Path) -> None:
    with modality() as peer, node(tmp_path, caller(peer.port)) as here:
        status = peer.ask(request(), here.port, stays=False)
        told = here.service.tell()

        assert (status, told) == (0, 1)
        assert peer.committed() == list(UIDS)
        assert states(here.store) == [("reported", 0)]
        assert here.service.tell() == 0


def test_each_failure_has_its_reason(tmp_path: Path) -> None:
    with modality() as peer, node(tmp_path) as here:
        for one in (tmp_path / "instances").rglob("*.dcm"):
            if b"1.2.3.2" in one.read_bytes():
                damaged = bytearray(one.read_bytes())
                damaged[-2] ^= 0xFF
                one.write_bytes(damaged)
        peer.ask(
            request(
                (CT_IMAGE_STORAGE, "1.2.3.1"),
                (CT_IMAGE_STORAGE, "1.2.3.2"),
                (CT_IMAGE_STORAGE, "1.2.3.99"),
                (MR, "1.2.3.1"),
            ),
            here.port,
        )

    assert peer.event_types == [2]
    assert peer.committed() == ["1.2.3.1"]
    failed = [
        (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
        for one in peer.reports[0].FailedSOPSequence
    ]
    reasons = [one.FailureReason for one in peer.reports[0].FailedSOPSequence]
    assert list(zip(failed, reasons, strict=True)) == [
        ((CT_IMAGE_STORAGE, "1.2.3.2"), 0x0110),
        ((CT_IMAGE_STORAGE, "1.2.3.99"), 0x0112),
        ((MR, "1.2.3.1"), 0x0119),
    ]


def test_a_file_that_is_gone_is_not_committed_to(tmp_path: Path) -> None:
    with modality() as peer, node(tmp_path) as here:
        for one in (tmp_path / "instances").rglob("*.dcm"):
            one.unlink()
        peer.ask(request(), here.port)

    assert peer.failures() == dict.fromkeys(UIDS, 0x0110)


def test_a_peer_that_is_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with node(tmp_path, caller(port)) as here:
        with modality() as asking:
            asking.ask(request(), here.port, stays=False)
        first = here.service.tell()
        waiting = states(here.store)
        too_early = here.service.tell()

        here.now += timedelta(seconds=5)
        with modality() as back:
            here.service._settings = NodeSettings.model_validate(
                {"node": {"data_dir": tmp_path}, "callers": [caller(back.port)]}
            )
            last = here.service.tell()

        assert (first, too_early, last) == (0, 0, 1)
        assert waiting == [("asked", 1)]
        assert back.committed() == list(UIDS)


def test_a_peer_that_is_silent_holds_up_nobody(tmp_path: Path) -> None:
    with socket.socket() as silent, modality() as peer:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        port = silent.getsockname()[1]
        hung = {"ae_title": "HUNG", "address": "127.0.0.1", "port": port}
        with node(tmp_path, caller(peer.port), hung) as here:
            called: list[str] = []
            send = here.service._send
            here.service._send = lambda report, to: (  # type: ignore[method-assign]
                called.append(to.name),
                send(report, to),
            )[1]
            here.service._timeouts = Timeouts(0.5, 0.5, 0.5)
            for name, number in [("HUNG", 1), ("HUNG", 2), ("HUNG", 3), ("PACS", 4)]:
                here.store.commitment_requests.keep_request(
                    name,
                    f"2.25.{number}",
                    references=[(CT_IMAGE_STORAGE, UIDS[0])],
                    now=NOON,
                    is_told_here=False,
                )

            told = here.service.tell()

            assert told == 1
            assert called == ["HUNG", "PACS"]
            assert states(here.store) == [("asked", 1)] * 3 + [("reported", 0)]


def test_a_request_is_answered_before_the_files_are_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_answered = threading.Event()
    real = commitment.check_references
    waited: list[bool] = []

    def check(*arguments: object, **options: object) -> object:
        waited.append(is_answered.wait(5))
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(commitment, "check_references", check)
    with node(tmp_path) as here, RawPeer(here.port) as peer:
        peer.associate(StorageCommitmentPushModel)
        peer.send(p_data(command(N_ACTION), is_command=True))
        peer.send(p_data(encode_data_set(request())))

        assert peer.response().status == 0
        is_answered.set()
        kind, body = peer.read_pdu()

    assert waited == [True]
    assert kind == 4
    assert struct.pack("<HHLH", 0, 0x0100, 2, N_EVENT_REPORT) in body


def test_a_refused_report_is_sent_again_and_given_up_after_days(tmp_path: Path) -> None:
    with (
        modality(lambda: 0x0110) as peer,
        node(tmp_path, caller(peer.port)) as here,
    ):
        peer.ask(request(), here.port, stays=False)
        here.service.tell()
        before = states(here.store)
        here.now += timedelta(days=8)
        here.service.tell()

        assert before == [("asked", 1)]
        assert states(here.store) == [("dead", 2)]
        assert [one.kind for one in here.store.snapshot().errors] == [
            "commitment_report_dead"
        ]


def test_a_request_survives_a_restart(tmp_path: Path) -> None:
    with modality() as peer:
        with node(tmp_path, caller(peer.port)) as here:
            peer.ask(request(), here.port, stays=False)
        with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
            settings = NodeSettings.model_validate(
                {"node": {"data_dir": tmp_path}, "callers": [caller(peer.port)]}
            )
            service = CommitmentService(
                settings,
                store,
                clock=lambda: NOON,
                on_report=lambda _ae_title, _address, _report: False,
            )
            service.start()
            assert peer.told.wait(10)
            assert service.trouble is None
            service.stop()
            assert states(store) == [("reported", 0)]


def test_the_same_request_twice_is_one_and_another_is_refused(tmp_path: Path) -> None:
    with modality() as peer, node(tmp_path, caller(peer.port)) as here:
        first = peer.ask(request(), here.port, stays=False)
        again = peer.ask(request(), here.port, stays=False)
        other = peer.ask(request((CT_IMAGE_STORAGE, "1.2.3.1")), here.port, stays=False)

        assert (first, again, other) == (0, 0, 0x0115)
        assert len(states(here.store)) == 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"TransactionUID": ""}, 0x0115),
        ({"TransactionUID": "not a uid"}, 0x0115),
        ({"ReferencedSOPSequence": []}, 0x0115),
        ({"ReferencedSOPSequence": [Dataset()]}, 0x0115),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_request_without_meaning_is_refused(
    tmp_path: Path, changes: dict[str, object], status: int
) -> None:
    ds = request()
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    with modality() as peer, node(tmp_path) as here:
        assert peer.ask(ds, here.port, stays=False) == status
        assert states(here.store) == []


def command(
    field: int,
    *,
    sop_class: str = StorageCommitmentPushModel,
    instance: str = StorageCommitmentPushModelInstance,
    type_id: int | None = 1,
    has_data_set: bool = True,
) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    body = element(0x0003, sop_class.encode())
    body += element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", 3))
    body += element(0x0800, struct.pack("<H", 1 if has_data_set else 0x0101))
    body += element(0x1001, instance.encode())
    if type_id is not None:
        number = 0x1008 if field == 0x0130 else 0x1002
        body += element(number, struct.pack("<H", type_id))
    return element(0, struct.pack("<L", len(body))) + body


N_ACTION, N_EVENT_REPORT, N_GET = 0x0130, 0x0100, 0x0110


@pytest.mark.parametrize(
    ("field", "changes", "status"),
    [
        (N_GET, {}, 0x0211),
        (0x0001, {}, 0x0211),
        (N_ACTION, {"sop_class": "1.2.840.10008.1.20.2"}, 0x0122),
        (N_ACTION, {"instance": "1.2.3"}, 0x0112),
        (N_ACTION, {"type_id": 2}, 0x0123),
        (N_ACTION, {"type_id": None}, 0x0123),
        (N_EVENT_REPORT, {"type_id": 3}, 0x0113),
        (N_ACTION, {"has_data_set": False}, 0x0212),
    ],
)
def test_every_other_request_has_its_status(
    tmp_path: Path, field: int, changes: dict[str, object], status: int
) -> None:
    has_data_set = bool(changes.get("has_data_set", True))
    with running_server(tmp_path) as server, RawPeer(server.port) as peer:
        peer.associate(StorageCommitmentPushModel)
        peer.send(p_data(command(field, **changes), is_command=True))  # type: ignore[arg-type]
        if has_data_set:
            peer.send(p_data(encode_data_set(request())))

        assert peer.response().status == status
        assert peer.release() == 6


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0" * 3,
        b"garbage",
        # Sequences inside each other, deeper than any interpreter's stack.
        b"\x08\x00\x99\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 5000,
    ],
    ids=["cut", "garbage", "deep"],
)
def test_a_data_set_that_cannot_be_parsed_is_refused(
    tmp_path: Path, data: bytes
) -> None:
    with node(tmp_path) as here, RawPeer(here.port) as peer:
        peer.associate(StorageCommitmentPushModel)
        peer.send(p_data(command(N_ACTION), is_command=True) + p_data(data))

        assert peer.response().status == 0x0212
        assert peer.release() == 6


def test_a_data_set_without_end_is_refused_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dicom_node.scp.normalized.ASSOCIATION_LIMITS",
        replace(ASSOCIATION_LIMITS, normalized_bytes=100),
    )
    with node(tmp_path) as here, RawPeer(here.port) as peer:
        peer.associate(StorageCommitmentPushModel)
        peer.send(p_data(command(N_ACTION), is_command=True) + p_data(bytes(50_000)))

        assert peer.response().status == 0x0213


def role(uid: str, scu: int, scp: int) -> bytes:
    value = len(uid).to_bytes(2, "big") + uid.encode() + bytes((scu, scp))
    return item(0x54, value)


def test_only_commitment_roles_are_answered(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, RawPeer(server.port) as peer:
        peer.send(
            associate_request(
                [
                    (1, StorageCommitmentPushModel, [EXPLICIT_LITTLE]),
                    (3, CT_IMAGE_STORAGE, [EXPLICIT_LITTLE]),
                ],
                user_items=role(StorageCommitmentPushModel, 0, 1)
                + role(CT_IMAGE_STORAGE, 1, 1),
            )
        )
        kind, body = peer.read_pdu()

    assert kind == 2
    assert role(StorageCommitmentPushModel, 0, 1) in body
    assert body.count(b"\x54\x00") == 1


def test_who_is_scp_only_cannot_ask(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, RawPeer(server.port) as peer:
        peer.associate(
            StorageCommitmentPushModel,
            user_items=role(StorageCommitmentPushModel, 0, 1),
        )
        peer.send(p_data(command(N_ACTION), is_command=True))
        peer.send(p_data(encode_data_set(request())))

        assert peer.response().status == 0x0211


@pytest.mark.parametrize("damage", [b"\0", b"\0\xff1.2", b"\0\x031.2\1"])
def test_a_role_selection_that_does_not_fit_is_aborted(
    tmp_path: Path, damage: bytes
) -> None:
    with running_server(tmp_path) as server, RawPeer(server.port) as peer:
        peer.send(
            associate_request(
                [(1, StorageCommitmentPushModel, [EXPLICIT_LITTLE])],
                user_items=item(0x54, damage),
            )
        )

        assert peer.read_pdu()[0] == 7


def test_an_answer_to_no_report_is_aborted(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, RawPeer(server.port) as peer:
        peer.associate(StorageCommitmentPushModel)
        body = struct.pack("<HHLH", 0, 0x0100, 2, 0x8100)
        body += struct.pack("<HHLH", 0, 0x0120, 2, 1)
        body += struct.pack("<HHLH", 0, 0x0800, 2, 0x0101)
        body += struct.pack("<HHLH", 0, 0x0900, 2, 0)
        peer.send(p_data(body, is_command=True))

        assert peer.read_pdu()[0] == 7


def test_a_peer_is_called_where_it_is_known() -> None:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "10.0.0.9", "port": 104}
    settings = NodeSettings.model_validate(
        {
            "callers": [
                {"ae_title": "CT1", "address": "10.0.0.1", "port": 4242},
                {"ae_title": "PACS", "address": "10.0.0.0/24"},
            ],
            "destinations": [pacs],
            "archives": [pacs | {"name": "old", "ae_title": "OLD"}],
        }
    )
    found = {name: peer_of(name, settings) for name in ("CT1", "PACS", "OLD", "MR1")}

    assert {
        name: (one.host, one.port) for name, one in found.items() if one is not None
    } == {
        "CT1": ("10.0.0.1", 4242),
        "PACS": ("10.0.0.9", 104),
        "OLD": ("10.0.0.9", 104),
    }
    with pytest.raises(ValueError, match="only a caller with one address"):
        NodeSettings.model_validate(
            {"callers": [{"ae_title": "A", "address": "10.0.0.0/24", "port": 1}]}
        )
