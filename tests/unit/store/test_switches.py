from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from dicom_node.store import Store
from dicom_node.store.schema import events


def test_a_switch_that_nobody_set_has_the_default(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'node.sqlite'}") as store:
        store.migrate()

        assert store.switches.get("paused") is False
        assert store.switches.get("paused", default=None) is None
        assert store.switches.all() == {}


def test_a_switch_outlasts_the_process_and_tells_its_changes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'node.sqlite'}"
    with Store(url) as store:
        store.migrate()
        store.switches.set("paused", True, by="ada")
        store.switches.set("paused", True, by="ada")
        store.switches.set("draining", False, by="ada")
        store.switches.set("paused", False, by="bob")
        store.switches.set("paused", True, by="bob")

    with Store(url) as store:
        found = store.switches.all()
        with store._database.read() as connection:
            told = connection.execute(
                select(events.c.subject, events.c.detail).order_by(events.c.id)
            ).all()

    assert found == {"draining": False, "paused": True}
    assert [(row.subject, row.detail["by"]) for row in told] == [
        ("paused", "ada"),
        ("draining", "ada"),
        ("paused", "bob"),
        ("paused", "bob"),
    ]
