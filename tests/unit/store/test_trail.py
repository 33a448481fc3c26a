"""The audit trail is read in its order on both databases, and no row is left out."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import create_engine, text

from dicom_node.audit import EventKind
from dicom_node.store import Store
from tests.builders.stores import received


def test_a_cursor_begins_with_what_comes_next(store: Store) -> None:
    store.record_event(EventKind.NODE_STARTED)
    position = store.trail.open_cursor("a")

    store.record_event(EventKind.NODE_STOPPED)

    rows = store.trail.read(position, limit=10)
    assert [row.kind for row in rows] == ["node_stopped"]
    assert store.trail.backlog("a").count == 1


def test_a_cursor_never_goes_back(store: Store) -> None:
    store.record_event(EventKind.NODE_STARTED)
    store.trail.open_cursor("a")

    store.trail.move_cursor("a", 9)
    store.trail.move_cursor("a", 3)

    assert store.trail.open_cursor("a") == 9


def test_a_study_is_told_with_its_patient(store: Store) -> None:
    store.record_instance(received(1, study={"PatientID": "P1", "PatientName": "A^B"}))

    found = store.trail.studies([1])

    assert found[1].study_instance_uid == "1.2.3"
    assert (found[1].patient_id, found[1].patient_name) == ("P1", "A^B")
    assert store.trail.sop_classes(["1.2.3.4.1"]) == {
        "1.2.3.4.1": "1.2.840.10008.5.1.4.1.1.2"
    }


def test_a_row_that_becomes_visible_late_is_waited_for(store: Store, url: str) -> None:
    if url.startswith("sqlite"):
        return _sqlite_takes_one_writer_at_a_time(store)
    engine = create_engine(url)
    insert = (
        "INSERT INTO events (at, kind, detail) VALUES (now(), 'node_started', '{}')"
    )
    slow, quick = engine.connect(), engine.connect()
    slow.execute(text(insert))
    quick.execute(text(insert))
    quick.commit()
    threading.Timer(0.3, slow.commit).start()

    rows = store.trail.read(0, limit=10)

    assert [row.id for row in rows] == [1, 2]
    slow.close()
    quick.close()
    engine.dispose()
    return None


def _sqlite_takes_one_writer_at_a_time(store: Store) -> None:
    write: Callable[[], None] = lambda: store.record_event(  # noqa: E731
        EventKind.NODE_STARTED
    )
    threads = [threading.Thread(target=write) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    rows = store.trail.read(0, limit=10)

    assert [row.id for row in rows] == [1, 2, 3, 4, 5]
