from __future__ import annotations

from pathlib import Path

from dicom_node.config import ArchiveSettings
from dicom_node.receive import InstanceReceiver
from dicom_node.retrieve.archive import Deadline, FoundInstance, Order
from dicom_node.retrieve.dimse import DimseArchive
from dicom_node.retrieve.storing import Arrivals, _DataSet
from dicom_node.spool import Spool
from tests.builders.dicom_server import MemoryLedger
from tests.builders.qr_archive import QrArchive, instance


def open_archive(
    settings: ArchiveSettings, folder: Path, *, max_bytes: int
) -> tuple[DimseArchive, Arrivals, MemoryLedger]:
    ledger = MemoryLedger()
    arrivals = Arrivals(
        InstanceReceiver(Spool(folder, min_free_bytes=0), ledger),
        ae_title="QRSCP",
        address="127.0.0.1",
        max_bytes=max_bytes,
    )
    archive = DimseArchive(
        settings.peer,
        ae_title="GROUNDING",
        by_move=False,
        arrivals=arrivals,
        deadline=Deadline(20.0),
    )
    return archive, arrivals, ledger


def order(*numbers: int, sop_class: str | None = None) -> Order:
    made = [instance(number=number) for number in numbers]
    return Order(
        "1.2.3",
        "1.2.3.1",
        tuple(
            FoundInstance(
                one.SOPInstanceUID,
                one.SOPClassUID if sop_class is None else sop_class,
            )
            for one in made
        ),
        is_whole=False,
    )


def test_a_large_instance_goes_to_the_disk_and_not_through_memory(
    tmp_path: Path,
) -> None:
    large = instance()
    large.EncapsulatedDocument = bytes(range(256)) * 40_000
    kept_in_memory: list[int] = []
    with QrArchive([large]) as peer:
        archive, arrivals, ledger = open_archive(
            peer.settings, tmp_path, max_bytes=1 << 30
        )
        answer = arrivals.answer

        def look(event: object) -> int:
            data_set = event.request.DataSet  # type: ignore[attr-defined]
            assert isinstance(data_set, _DataSet)
            kept_in_memory.append(len(data_set.getvalue()))
            return answer(event)  # type: ignore[arg-type]

        arrivals.answer = look  # type: ignore[method-assign]
        assert archive.fetch([order(1)]) == ""
        archive.release()

    assert kept_in_memory == [0]
    (kept,) = ledger.instances
    assert kept.size_bytes > 10_000_000


def test_what_is_larger_than_allowed_is_answered_and_not_kept(tmp_path: Path) -> None:
    large = instance()
    large.EncapsulatedDocument = bytes(100_000)
    with QrArchive([large, instance(number=2)]) as peer:
        archive, _, ledger = open_archive(peer.settings, tmp_path, max_bytes=50_000)
        trouble = archive.fetch([order(1, 2)])
        archive.release()

    assert "1 sub-operations failed" in trouble
    assert 0xA700 in peer.store_statuses
    assert [one.sop_instance_uid for one in ledger.instances] == ["1.2.3.1.2"]
    assert not list((tmp_path / "incoming").iterdir())


def test_an_archive_need_not_say_which_classes_it_has(tmp_path: Path) -> None:
    with QrArchive([instance()]) as peer:
        archive, arrivals, _ = open_archive(peer.settings, tmp_path, max_bytes=1 << 20)
        assert archive.fetch([order(1, sop_class="")]) == ""
        archive.release()

    assert arrivals.kept == {"1.2.3.1.1"}
