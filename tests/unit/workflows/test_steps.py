from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_node.store import AttemptOutcome, Parcel, Store
from dicom_node.workflows.choosing import Choice
from dicom_node.workflows.delivery import DeliveryOutcome
from dicom_node.workflows.names import parcel_name
from dicom_node.workflows.steps import Steps
from dicom_node.workflows.submitting import PROCESS_QUEUE
from tests.builders.stores import NOON
from tests.unit.workflows.test_delivery_order import make_version


class SaidBefore:
    """Stands for the delivery: what each try comes to was said before."""

    def __init__(self) -> None:
        self.next = DeliveryOutcome(1, None, 0.0)

    def deliver(self, *_: object) -> DeliveryOutcome:
        return self.next


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr("dicom_node.workflows.steps.hurry", names.append)
    return names


def make_steps(store: Store, delivery: SaidBefore) -> Steps:
    unused: Any = SimpleNamespace()
    return Steps(
        store,
        unused,
        delivery,  # type: ignore[arg-type]
        chooser=unused,
        clock=lambda: NOON,
        is_stopping=threading.Event(),
    )


def fail(store: Store, parcel: Parcel, *, until: datetime) -> None:
    items = store.outbox.pending_items(
        parcel.version_id, parcel.destination, data_dir=Path("/")
    )
    store.outbox.record_attempt(
        parcel,
        [AttemptOutcome(one.delivery_id, False, None, "away") for one in items],
        now=NOON,
        next_attempt_at=until,
    )


def test_a_paused_version_goes_back_to_its_queue_when_the_node_stops(
    store: Store,
) -> None:
    store.switches.set("paused", True, by="terminal")
    unused: Any = SimpleNamespace()
    chooser: Any = SimpleNamespace(
        recall=lambda _: Choice(True, None, place=7, delay_s=0.0, pictures=1)
    )
    is_stopping = threading.Event()
    is_stopping.set()
    steps = Steps(
        store,
        unused,
        unused,
        chooser=chooser,
        clock=lambda: NOON,
        is_stopping=is_stopping,
    )

    # Which is no try: the next one that fails is tried again as soon.
    assert steps.process(1, 1, 3, None) == {
        "attempt": 3,
        "began_at": None,
        "priority": 7,
        "queue": PROCESS_QUEUE,
        "delay_s": 0.0,
    }


def test_only_a_version_that_was_tried_counts_a_try(store: Store) -> None:
    unused: Any = SimpleNamespace()
    choice = Choice(True, None, place=7, delay_s=0.0, pictures=1)
    chooser: Any = SimpleNamespace(recall=lambda _: choice)
    processing: Any = SimpleNamespace(process=lambda *_, **__: False)
    steps = Steps(
        store,
        processing,
        unused,
        chooser=chooser,
        clock=lambda: NOON,
        is_stopping=threading.Event(),
    )

    tried = steps.process(1, 1, 3, None)
    choice = replace(choice, delay_s=60.0)  # its hours have passed
    put_off = steps.process(1, 1, 3, None)

    assert tried is not None
    assert put_off is not None
    assert (tried["attempt"], put_off["attempt"]) == (4, 3)


def test_what_waits_is_hurried_once_when_its_destination_answers_again(
    tmp_path: Path, store: Store, hurried: list[str]
) -> None:
    for number in (1, 2, 3):
        make_version(store, tmp_path, number, study=f"1.2.{number}")
    waiting = store.outbox.pending_parcels(destination="pacs")
    for parcel in waiting:
        fail(store, parcel, until=NOON + timedelta(seconds=300))
    first, second, third = store.outbox.pending_parcels(destination="pacs")
    delivery = SaidBefore()
    steps = make_steps(store, delivery)

    for _ in range(3):
        steps.deliver(first.study_id, "pacs", "try")
    once = list(hurried)
    delivery.next = DeliveryOutcome(0, second, 5.0)
    steps.deliver(second.study_id, "pacs", "try")
    delivery.next = DeliveryOutcome(1, None, 0.0)
    steps.deliver(first.study_id, "pacs", "try")

    assert once == [parcel_name(second), parcel_name(third)]
    assert hurried == once * 2


def test_a_newer_version_lets_the_older_one_be_tried_at_once(
    tmp_path: Path, store: Store, hurried: list[str]
) -> None:
    make_version(store, tmp_path, 1)
    (parcel,) = store.outbox.pending_parcels(destination="pacs")
    fail(store, parcel, until=NOON + timedelta(seconds=300))
    (older,) = store.outbox.pending_parcels(destination="pacs")
    make_version(store, tmp_path, 2)
    newest = store.outbox.pending_parcels(destination="pacs")[-1]

    make_steps(store, SaidBefore()).new_parcels(newest.version_id)

    assert hurried == [parcel_name(older)]
