"""Storage commitment of what is there, missing, of another class, and rotten."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    MRImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from dicom_node.config import load_settings
from dicom_node.store import Store
from tests.builders.network import loopback_network
from tests.builders.orthanc import run_orthanc
from tests.builders.process import free_port
from tests.builders.raw_peer import CT_IMAGE_STORAGE, make_instance
from tests.torture.nodes import run_watched
from tests.torture.outcome import Figure, Tell, at_most, seen

__all__ = ["commit_at_orthanc", "prove_commitment"]

_NO_SUCH, _CLASS, _PROCESSING = 0x0112, 0x0119, 0x0110
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class _Case:
    """What is asked for, and what must come back."""

    uids: tuple[str, ...]
    broken: int
    """Of each kind: missing, of another class, rotten."""

    @classmethod
    def of(cls, count: int) -> _Case:
        broken = max(1, count // 100)
        return cls(tuple(f"1.2.8.{one}" for one in range(count)), broken)

    @property
    def missing(self) -> tuple[str, ...]:
        return self.uids[: self.broken]

    @property
    def of_another_class(self) -> tuple[str, ...]:
        return self.uids[self.broken : 2 * self.broken]

    @property
    def rotten(self) -> tuple[str, ...]:
        return self.uids[2 * self.broken : 3 * self.broken]

    @property
    def sent(self) -> tuple[str, ...]:
        return self.uids[self.broken :]

    @property
    def good(self) -> frozenset[str]:
        return frozenset(self.uids[3 * self.broken :])

    @property
    def expected(self) -> dict[str, int]:
        return {
            **dict.fromkeys(self.missing, _NO_SUCH),
            **dict.fromkeys(self.of_another_class, _CLASS),
            **dict.fromkeys(self.rotten, _PROCESSING),
        }

    def request(self) -> Dataset:
        ds = Dataset()
        ds.TransactionUID = "2.25.20"
        ds.ReferencedSOPSequence = []
        for uid in self.uids:
            one = Dataset()
            is_other = uid in self.of_another_class
            one.ReferencedSOPClassUID = MRImageStorage if is_other else CT_IMAGE_STORAGE
            one.ReferencedSOPInstanceUID = uid
            ds.ReferencedSOPSequence.append(one)
        return ds


def prove_commitment(count: int, work: Path, tell: Tell) -> tuple[Figure, ...]:
    """Ask a node to commit to so many instances, with three in a hundred broken."""
    case = _Case.of(count)
    folder = work / "commitment"
    with run_watched(folder) as node:
        _store(case, node.dicom_port)
        _rot_at_node(case, folder)
        tell(f"{len(case.sent)} instances stored, {case.broken} rotten")
        with _requester() as requester:
            report = requester.ask(case.request(), node.dicom_port, "GROUNDING")
    return _figures(case, report)


def commit_at_orthanc(count: int, work: Path, tell: Tell) -> tuple[Figure, ...]:
    """Ask Orthanc the same; what it should not have committed to is told."""
    case = _Case.of(count)
    with loopback_network(), _requester() as requester:
        known = {"asker": ("ASKER", "127.0.0.1", requester.port)}
        with run_orthanc(work / "orthanc", modalities=known) as orthanc:
            _store(case, orthanc.dicom_port, called="ORTHANC")
            _rot_files(case, work / "orthanc" / "storage")
            tell("Orthanc is asked")
            report = requester.ask(case.request(), orthanc.dicom_port, "ORTHANC")
    wrong = len(set(report.committed) - case.good)
    figures = _figures(case, report)
    return (
        *(seen(one.name, one.value, one.unit) for one in figures),
        seen("committed to and rotten", len(set(report.committed) & set(case.rotten))),
        seen("committed to wrongly", wrong),
    )


@dataclass(frozen=True, slots=True)
class _Report:
    committed: Sequence[str]
    failed: Mapping[str, int]


def _figures(case: _Case, report: _Report) -> tuple[Figure, ...]:
    committed, failed = set(report.committed), dict(report.failed)
    twice = len(report.committed) - len(committed)
    wrong = {uid for uid, why in case.expected.items() if failed.get(uid) != why}
    unnamed = set(case.uids) - committed - set(failed)
    return (
        seen("instances asked for", len(case.uids)),
        seen("of these missing, of another class, rotten", case.broken, "each"),
        at_most("good ones not committed to", len(case.good - committed), 0),
        at_most("others committed to", len(committed - case.good), 0),
        at_most("wrong failure reasons", len(wrong), 0),
        at_most("not named, or named twice", len(unnamed) + twice, 0),
    )


class _Requester:
    """Who asks, and is told on the same association or on one of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._told = threading.Event()
        self._reports: list[Dataset] = []

    def take(self, event: evt.Event) -> tuple[int, None]:
        self._reports.append(event.event_information)
        self._told.set()
        return 0x0000, None

    def ask(self, request: Dataset, port: int, called: str) -> _Report:
        entity = AE("ASKER")
        entity.network_timeout = entity.dimse_timeout = _PATIENCE_S
        association = entity.associate(
            "127.0.0.1",
            port,
            ae_title=called,
            contexts=[build_context(StorageCommitmentPushModel)],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)],
        )
        assert association.is_established
        status, _ = association.send_n_action(
            request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        assert status.get("Status") == 0, status
        assert self._told.wait(_PATIENCE_S), "it never reported"
        association.release()
        said = self._reports[-1]
        return _Report(
            [str(one.ReferencedSOPInstanceUID) for one in _items(said, "Referenced")],
            {
                str(one.ReferencedSOPInstanceUID): int(one.FailureReason)
                for one in _items(said, "Failed")
            },
        )


def _items(report: Dataset, name: str) -> Sequence[Dataset]:
    found: Sequence[Dataset] = report.get(f"{name}SOPSequence") or []
    return found


@contextmanager
def _requester() -> Iterator[_Requester]:
    made = _Requester()
    entity = AE("ASKER")
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


def _store(case: _Case, port: int, *, called: str = "GROUNDING") -> None:
    entity = AE("ASKER")
    entity.network_timeout = entity.dimse_timeout = _PATIENCE_S
    context = build_context(CT_IMAGE_STORAGE, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, [context], ae_title=called)
    assert association.is_established
    for uid in case.sent:
        # What rots is the end of the pixels: it reads as well as before.
        made = make_instance(uid, PatientName="PROOF", PatientID="PROOF")
        made.add_new(0x7FE00010, "OW", bytes(2048))
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        assert association.send_c_store(made).get("Status") == 0
    association.release()


def _rot_at_node(case: _Case, folder: Path) -> None:
    settings = load_settings(folder / "node.toml", {})
    with Store(settings.database_url) as store:
        kept = store.commitment_requests.kept_instances(list(case.rotten))
    for uid in case.rotten:
        (one,) = kept[uid]
        _rot(settings.node.data_dir / one.path)


def _rot_files(case: _Case, folder: Path) -> None:
    left = set(case.rotten)
    for path in folder.rglob("*"):
        if path.is_file():
            try:
                ds = pydicom.dcmread(io.BytesIO(path.read_bytes()))
            except InvalidDicomError:
                continue
            if ds.SOPInstanceUID in left:
                _rot(path)
                left.discard(ds.SOPInstanceUID)
    assert not left, "Orthanc keeps its files elsewhere"


def _rot(path: Path) -> None:
    """Turn the last byte of a file over."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(data)
