"""A complete study without a report waits for one, where the settings say so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import BasicTextSRStorage

from dicom_node.assembly import Assembler
from dicom_node.config import ReportSettings
from dicom_node.inbox import ReportInbox
from dicom_node.records import ReportStatus
from dicom_node.store import CollectingStudy, Store, VersionKey
from tests.builders.reports import incoming
from tests.builders.stores import NOON, received

QUIET_S, HOLD_S = 10.0, 600.0
STUDY = {"AccessionNumber": "A1"}


class Node:
    """An assembler with a clock that stands until it is moved."""

    def __init__(self, store: Store, settings: ReportSettings) -> None:
        self.now = NOON
        self.store = store
        self.assembler = Assembler(
            store,
            self,
            quiet_time_s=QUIET_S,
            reports=settings,
            clock=lambda: self.now,
            association_of=lambda: "one",
        )
        self.inbox = ReportInbox(store, clock=lambda: self.now)
        self.assembler.record_instance(received(study=STUDY))
        self.assembler.association_released()

    def version_ready(self, key: VersionKey, *, is_requested: bool = False) -> None:
        pass

    def study_requested(self, study: CollectingStudy) -> None:
        pass

    def opens_after(self, seconds: float) -> bool:
        self.now = NOON + timedelta(seconds=seconds)
        return bool(self.assembler.evaluate())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as opened:
        opened.migrate()
        yield opened


def test_without_a_report_a_study_is_held_and_no_longer(store: Store) -> None:
    node = Node(store, ReportSettings(hold_s=HOLD_S))

    assert not node.opens_after(QUIET_S + 1)
    assert not node.opens_after(QUIET_S + HOLD_S - 1)
    assert node.opens_after(QUIET_S + HOLD_S)


def test_without_the_setting_no_study_is_held(store: Store) -> None:
    assert Node(store, ReportSettings()).opens_after(QUIET_S)


def test_a_report_ends_the_wait_after_its_own_quiet_time(store: Store) -> None:
    node = Node(store, ReportSettings(hold_s=HOLD_S))
    assert not node.opens_after(100.0)

    node.inbox.accept(incoming())

    assert not node.opens_after(100.0 + QUIET_S - 1)
    assert node.opens_after(100.0 + QUIET_S)


def test_a_report_document_of_the_study_ends_the_wait(store: Store) -> None:
    node = Node(store, ReportSettings(hold_s=HOLD_S))

    node.assembler.record_instance(
        received(2, sop_class_uid=BasicTextSRStorage, study=STUDY)
    )
    node.assembler.association_released()

    assert node.opens_after(QUIET_S)


def test_a_request_ends_the_wait(store: Store) -> None:
    node = Node(store, ReportSettings(hold_s=HOLD_S))
    assert not node.opens_after(QUIET_S + 1)

    store.requeue_study("1.2.3", destinations={}, now=NOON)

    assert node.opens_after(QUIET_S + 2)


@pytest.mark.parametrize("status", [ReportStatus.PRELIMINARY, ReportStatus.CANCELLED])
def test_a_report_that_does_not_count_ends_no_wait(
    store: Store, status: ReportStatus
) -> None:
    node = Node(store, ReportSettings(hold_s=HOLD_S, preliminary=False))

    node.inbox.accept(incoming(status=status))

    assert not node.opens_after(QUIET_S + 1)
    assert node.opens_after(QUIET_S + HOLD_S)


def test_a_report_that_does_not_count_makes_no_version(store: Store) -> None:
    node = Node(store, ReportSettings(preliminary=False))
    assert node.opens_after(QUIET_S)

    node.inbox.accept(incoming(status=ReportStatus.PRELIMINARY))
    assert not node.opens_after(100.0)
    assert store.collecting_studies() == ()

    node.inbox.accept(incoming("final"))
    assert node.opens_after(200.0)
