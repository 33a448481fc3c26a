"""Retention passes by what somebody waits for: what comes after it goes instead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from dicom_node import retention as retaining
from dicom_node.store.schema import instances, studies
from tests.builders.kept_studies import LATER, Place
from tests.builders.stores import NOON

_CT = "1.2.840.10008.5.1.4.1.1.2"
_BYTES = 5000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(retaining, "_AT_ONCE", 3)
    made = Place(tmp_path)
    yield made
    made.store.close()


def _finish_five(place: Place) -> None:
    """Finish five studies, an hour apart, of 5000 bytes each."""
    for number in range(5):
        uid, at = f"1.2.5{number}", NOON + timedelta(hours=number)
        place.receive(
            number + 1,
            study_instance_uid=uid,
            series_instance_uid=f"{uid}.1",
            sop_instance_uid=f"{uid}.1.1",
            received_at=at,
        )
        place.process(at=at)
        place.deliver(at=at)
        with place.store._database.write() as connection:
            study = select(studies.c.id).where(studies.c.study_instance_uid == uid)
            connection.execute(
                update(instances)
                .where(instances.c.study_id == study.scalar_subquery())
                .values(size_bytes=_BYTES)
            )


def _hold(place: Place, *numbers: int) -> None:
    """Let a peer ask whether the node commits itself to some of them."""
    place.store.commitment_requests.keep_request(
        "PACS",
        "1.7",
        references=[(_CT, f"1.2.5{number}.1.1") for number in numbers],
        now=LATER,
        is_told_here=False,
    )


def _gone(place: Place) -> list[int]:
    return [number for number, one in enumerate(place.rows(studies)) if one.removed_at]


def test_the_next_study_goes_where_the_oldest_is_asked_about(place: Place) -> None:
    _finish_five(place)
    _hold(place, 0)
    kept = place.store.retention.kept_bytes()

    removed = place.retention(max_bytes=kept - _BYTES + 1000).run()

    assert removed == 1
    assert _gone(place) == [1]


def test_a_page_of_held_studies_does_not_hide_those_after_it(place: Place) -> None:
    _finish_five(place)
    _hold(place, 0, 1, 2)

    removed = place.retention(images_days=7).run()

    assert removed == 2
    assert _gone(place) == [3, 4]


def test_a_round_deletes_no_more_than_a_page_of_old_studies(place: Place) -> None:
    _finish_five(place)
    retention = place.retention(images_days=7)

    assert [retention.run(), retention.run(), retention.run()] == [3, 2, 0]


def test_studies_that_take_no_room_do_not_hide_those_that_do(place: Place) -> None:
    _finish_five(place)
    with place.store._database.write() as connection:
        connection.execute(
            update(instances).where(instances.c.study_id < 5).values(size_bytes=0)
        )

    place.retention(max_bytes=1).run()

    assert 4 in _gone(place)


def test_what_holds_the_disk_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finish_five(place)
    _hold(place, *range(5))
    retention = place.retention(high_water=0.5, low_water=0.4)
    monkeypatch.setattr(retention, "_over_high_water", lambda: 1000)

    assert retention.run() == 0

    assert "5 studies are asked about for storage commitment" in (
        retention.warning() or ""
    )
