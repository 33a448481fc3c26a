"""Files go only when no row names them, whoever else works meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.errors import TakenOverError
from dicom_node.reconcile import reconcile
from dicom_node.spool import Spool
from dicom_node.spool.final_names import FinalNames, TakenOut
from dicom_node.spool.quarantine import set_aside
from dicom_node.store import Store
from tests.builders.kept_studies import Place
from tests.builders.stores import received

DATA = b"an image"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with made.store:
        yield made


def receive(spool: Spool, *, is_kept: bool, store: Store | None = None) -> Path:
    writer = spool.open()
    writer.write(DATA)
    path = writer.commit(SHA256)
    if store is not None:
        store.record_instance(received(1, sha256=SHA256, path=path))
    writer.keep() if is_kept else writer.abort()
    return path


def test_what_was_refused_goes_unless_a_row_names_it(place: Place) -> None:
    refused = receive(place.spool, is_kept=False)
    named = place.store_file(2)
    place.store.record_instance(named)
    place.spool.names.hold(named.path)
    place.spool.names._vouched.clear()
    place.spool.names.settle(named.path, is_kept=False)

    assert place.store.files.delete_refused(place.spool.names) == 1

    assert not (place.data_dir / refused).exists()
    assert not place.spool.names.is_refused(named.path)
    assert place.spool.names.refused() == set()


def test_bytes_that_are_refused_once_and_kept_once_are_kept(place: Place) -> None:
    first, second = place.spool.open(), place.spool.open()
    for writer in (first, second):
        writer.write(DATA)
    path = first.commit(SHA256)
    second.commit(SHA256)

    first.abort()
    assert place.store.files.delete_refused(place.spool.names) == 0
    second.keep()

    assert place.store.files.delete_refused(place.spool.names) == 0
    assert (place.data_dir / path).read_bytes() == DATA


def test_a_duplicate_that_is_refused_leaves_no_mark_on_what_is_kept(
    place: Place, tmp_path: Path
) -> None:
    path = receive(place.spool, is_kept=True)
    # While the database is away.
    receive(place.spool, is_kept=False)

    assert not place.spool.names.is_refused(path)
    assert place.spool.names.refused() == set()
    # A database from before the instance takes it up again.
    os.utime(place.data_dir / path, (1, 1))
    with Store(f"sqlite:///{tmp_path / 'older.sqlite'}") as older:
        older.migrate()
        assert reconcile(older, place.spool).refused == 0


def test_a_file_that_another_node_acknowledged_meanwhile_gets_its_name_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = receive(place.spool, is_kept=False)
    other = Spool(place.data_dir, min_free_bytes=0)
    # This node looked, was stopped, and renames what the other has stored since.
    take_out = FinalNames.take_out

    def late(self: FinalNames, final: Path, *, to_delete: bool = True) -> object:
        receive(other, is_kept=True)
        return take_out(self, final, to_delete=to_delete)

    monkeypatch.setattr(FinalNames, "take_out", late)

    def taken_over(_connection: object) -> None:
        if list((place.data_dir / "removed").glob("*")):
            raise TakenOverError("another node works on the database")

    place.store._database.fence = taken_over

    with pytest.raises(TakenOverError):
        place.store.files.delete_refused(place.spool.names)

    assert (place.data_dir / path).read_bytes() == DATA
    assert list((place.data_dir / "removed").iterdir()) == []


def test_what_comes_again_while_it_is_taken_out_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = receive(place.spool, is_kept=False)
    take_out = FinalNames.take_out

    def taking(self: FinalNames, final: Path, *, to_delete: bool = True) -> object:
        taken = take_out(self, final, to_delete=to_delete)
        receive(place.spool, is_kept=True)
        return taken

    monkeypatch.setattr(FinalNames, "take_out", taking)
    place.store.files.delete_refused(place.spool.names)

    assert (place.data_dir / path).read_bytes() == DATA
    assert not place.spool.names.is_refused(path)
    assert list((place.data_dir / "removed").iterdir()) == []


@pytest.mark.parametrize(
    ("is_named", "to_delete", "is_there"),
    [(True, True, True), (False, True, False), (False, False, True)],
)
def test_a_start_sees_to_its_end_what_was_taken_out(
    place: Place, is_named: bool, to_delete: bool, is_there: bool
) -> None:
    path = receive(place.spool, is_kept=True, store=place.store if is_named else None)
    place.spool.names.take_out(path, to_delete=to_delete)
    assert not (place.data_dir / path).exists()

    place.store.files.finish_deletions(Spool(place.data_dir, min_free_bytes=0).names)

    assert (place.data_dir / path).exists() is is_there
    assert list((place.data_dir / "removed").iterdir()) == []


def test_what_is_named_or_held_is_not_set_aside(place: Place) -> None:
    path = receive(place.spool, is_kept=True)

    def aside(taken: TakenOut) -> bool:
        return set_aside(place.data_dir, taken.place, name=path.name)

    place.spool.names.hold(path)
    assert not place.store.files.quarantine(path, place.spool.names, set_aside=aside)
    place.store.record_instance(received(1, sha256=SHA256, path=path))
    place.spool.names.release(path)
    assert not place.store.files.quarantine(path, place.spool.names, set_aside=aside)

    assert (place.data_dir / path).read_bytes() == DATA


def test_what_is_set_aside_never_replaces_another(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        (tmp_path / "name.dcm").write_bytes(data)
        assert set_aside(tmp_path, Path("name.dcm"))

    kept = sorted((tmp_path / "quarantine").iterdir())
    assert [one.read_bytes() for one in kept] == [b"first", b"second"]
