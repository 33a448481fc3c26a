"""The ledger in memory: it says what the database says, and never looks through all."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.records import ReceivedInstance
from dicom_node.store import InstanceOutcome
from tests.builders.dicom_server import MemoryLedger
from tests.builders.stores import received


class _NeverReadThrough(list[ReceivedInstance]):
    def __iter__(self) -> Iterator[ReceivedInstance]:
        message = "all instances are looked through for one"
        raise AssertionError(message)


def test_an_instance_is_recorded_without_a_look_at_all_the_others() -> None:
    ledger = MemoryLedger(instances=_NeverReadThrough())
    uids_and_hashes = [("1.2", "a"), ("1.2", "a"), ("1.2", "b"), ("1.3", "a")]

    outcomes = [
        ledger.record_instance(received(sop_instance_uid=uid, sha256=letter * 64))
        for uid, letter in uids_and_hashes
    ]

    assert outcomes == [
        InstanceOutcome.NEW,
        InstanceOutcome.DUPLICATE,
        InstanceOutcome.CONFLICT,
        InstanceOutcome.NEW,
    ]
    assert len(ledger.instances) == 3
