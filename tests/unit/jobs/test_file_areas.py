"""Files go between node and workers whole, and nothing stays for ever."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path, PurePosixPath

import pytest

from dicom_node.cli.node import work
from dicom_node.config import NodeSettings, WorkersSettings, load_settings
from dicom_node.errors import FileAreaError, FileDamagedError, SettingsError
from dicom_node.header import read_header
from dicom_node.instance_file import instance_sha256
from dicom_node.jobs import FileArea, open_area
from dicom_node.jobs.image_cache import ImageCache
from dicom_node.jobs.result import LeftFile
from dicom_node.jobs.worker_process import own_folder
from dicom_node.records import StoredInstance
from tests.builders.dicom_series import make_ct_series


@pytest.fixture(params=["shared", "folder"])
def area(request: pytest.FixtureRequest, tmp_path: Path) -> FileArea:
    url = "" if request.param == "shared" else f"file://{tmp_path}/files"
    return open_area(
        WorkersSettings(enabled=True, files_url=url),
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
    )


def instances(folder: Path, *, slices: int = 2) -> tuple[StoredInstance, ...]:
    made = make_ct_series(
        folder / "data" / "instances", slices=slices, rows=4, columns=4
    )
    return tuple(
        StoredInstance(
            one.sop_instance_uid,
            one.sop_class_uid,
            one.transfer_syntax_uid,
            one.series_instance_uid,
            one.path.resolve(),
            instance_sha256(one.path, read_header(one.path)),
        )
        for one in made.instances
    )


def test_images_are_brought_once_and_are_what_they_were(
    area: FileArea, tmp_path: Path
) -> None:
    images = instances(tmp_path)
    keys = {area.key_of(one): one.sha256 for one in images}

    first, second = area.offer(images), area.offer(images)
    found = area.fetch(keys, tmp_path / "job")

    assert second == 0
    assert first in {0, sum(one.path.stat().st_size for one in images)}
    for one in images:
        assert found[area.key_of(one)].read_bytes() == one.path.read_bytes()


def test_results_go_back_and_what_no_job_needs_is_removed(
    area: FileArea, tmp_path: Path
) -> None:
    images = instances(tmp_path)
    area.offer(images)
    kept = {}
    for job, generation in (("a" * 64, 1), ("a" * 64, 2), ("b" * 64, 1)):
        folder = area.result_folder(
            job, generation, folder=tmp_path / f"{job}{generation}"
        )
        path = folder / "1.dcm"
        path.write_bytes(f"{job} {generation}".encode())
        sha256 = "0" * 64
        key = area.leave(job, generation, path=path, sha256=sha256)
        kept[job, generation] = key
    wrong = LeftFile(PurePosixPath("1.dcm"), "0" * 64, kept["a" * 64, 2])

    assert len(set(kept.values())) == 3
    with pytest.raises(FileAreaError, match="not whole"):
        area.take(wrong, tmp_path / "out" / "1.dcm", job_id="a" * 64, generation=2)
    assert not (tmp_path / "out" / "1.dcm").exists()
    still = {"job_ids": {"a" * 64}, "keys": {area.key_of(images[0])}}
    gone = area.unneeded(area.listed(), **still)
    assert len(gone) >= 1
    area.remove(gone)
    assert area.unneeded(area.listed(), **still) == []
    area.forget(["a" * 64], keys=[])
    with pytest.raises(FileAreaError):
        area.take(wrong, tmp_path / "out" / "1.dcm", job_id="a" * 64, generation=2)
    # The node's own images are never removed.
    assert all(one.path.exists() for one in images)


def leave(area: FileArea, tmp_path: Path, data: bytes) -> tuple[Path, LeftFile]:
    """Leave a result of the first try at job ``j``; return the worker's file."""
    path = area.result_folder("j", 1, folder=tmp_path / "own") / "1.dcm"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    key = area.leave("j", 1, path=path, sha256=sha256)
    return path, LeftFile(PurePosixPath("1.dcm"), sha256, key)


def test_a_worker_cannot_change_what_was_taken(area: FileArea, tmp_path: Path) -> None:
    path, left = leave(area, tmp_path, b"good")
    taken = tmp_path / "out" / "1.dcm"
    with path.open("r+b") as kept:
        area.take(left, taken, job_id="j", generation=1)
        kept.write(b"evil")

    assert taken.read_bytes() == b"good"
    assert [one.name for one in taken.parent.iterdir()] == ["1.dcm"]


def test_a_key_names_only_results_of_its_own_try(
    area: FileArea, tmp_path: Path
) -> None:
    _, left = leave(area, tmp_path, b"good")
    folder, name = left.key.rsplit("/", 1)
    (tmp_path / "data" / "instances").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / "instances" / "p").write_bytes(b"good")
    taken = tmp_path / "out" / "1.dcm"

    for key, generation in (
        ("instances/p", 1),
        (left.key, 2),
        (f"{folder}/../1/{name}", 1),
        (f"/{left.key}", 1),
        (folder, 1),
    ):
        wrong = LeftFile(left.path, left.sha256, key)
        with pytest.raises(FileAreaError, match="outside"):
            area.take(wrong, taken, job_id="j", generation=generation)
    assert not taken.exists()


def test_no_link_leads_out_of_a_shared_folder(tmp_path: Path) -> None:
    area = open_area(WorkersSettings(), data_dir=tmp_path / "data")
    path, left = leave(area, tmp_path, b"good")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "1.dcm").write_bytes(b"good")
    path.with_name("file").symlink_to(tmp_path / "else" / "1.dcm")
    path.with_name("folder").symlink_to(tmp_path / "else")
    path.with_name("made").mkdir()
    os.mkfifo(path.with_name("pipe"))

    for name in ("file", "folder/1.dcm", "made", "pipe"):
        wrong = LeftFile(left.path, left.sha256, f"jobs/j/1/{name}")
        with pytest.raises(FileAreaError):
            area.take(wrong, tmp_path / "out", job_id="j", generation=1)
    assert not (tmp_path / "out").exists()


def test_no_key_leads_out_of_a_shared_folder(tmp_path: Path) -> None:
    area = open_area(WorkersSettings(), data_dir=tmp_path / "data")

    for key in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(FileAreaError, match="outside"):
            area.fetch({key: "0" * 64}, tmp_path)


def test_a_cache_keeps_what_was_used_last_and_jobs_keep_theirs(tmp_path: Path) -> None:
    images = instances(tmp_path)
    size = images[0].path.stat().st_size
    cache = ImageCache(tmp_path / "cache", max_bytes=size)
    fetched = []

    def bring(number: int, name: str) -> bool:
        one = images[number]

        def fetch(part: Path) -> None:
            fetched.append(number)
            part.write_bytes(one.path.read_bytes())

        return cache.bring(one.sha256, fetch, tmp_path / name)

    assert bring(0, "a")
    assert not bring(0, "b")
    os.utime(tmp_path / "cache" / images[0].sha256, (1, 1))
    assert bring(1, "c")
    cache.tidy()

    assert fetched == [0, 1]
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [images[1].sha256]
    assert (tmp_path / "a").read_bytes() == images[0].path.read_bytes()
    assert bring(0, "d")


def test_a_cache_leaves_alone_what_another_process_brings(tmp_path: Path) -> None:
    images = instances(tmp_path)
    first = ImageCache(tmp_path / "cache", max_bytes=0)
    second = ImageCache(tmp_path / "cache", max_bytes=0)

    def fetch_at_once(part: Path) -> None:
        part.write_bytes(images[1].path.read_bytes())

    def fetch_slowly(part: Path) -> None:
        part.write_bytes(images[0].path.read_bytes())
        os.utime(part, (1, 1))
        # What another process does meanwhile: it brings a file, and makes room.
        second.bring(images[1].sha256, fetch_at_once, tmp_path / "b")
        second.tidy()

    assert first.bring(images[0].sha256, fetch_slowly, tmp_path / "a")
    first.tidy()

    for one, name in zip(images, "ab", strict=True):
        assert (tmp_path / name).read_bytes() == one.path.read_bytes()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_several_processes_keep_in_one_folder_is_counted_together(
    tmp_path: Path,
) -> None:
    images = instances(tmp_path, slices=8)
    size = max(one.path.stat().st_size for one in images)
    caches = [ImageCache(tmp_path / "cache", max_bytes=5 * size) for _ in range(4)]

    for number, one in enumerate(images):
        cache = caches[number % 4]
        cache.bring(
            one.sha256,
            lambda part, one=one: part.write_bytes(one.path.read_bytes()) and None,
            tmp_path / f"{number}",
        )
        cache.tidy()

    kept = sum(one.stat().st_size for one in (tmp_path / "cache").iterdir())
    assert 4 * size < kept <= 5 * size


def test_a_cache_has_no_part_of_what_an_ended_process_brought(tmp_path: Path) -> None:
    image = instances(tmp_path)[0]
    cache_dir = tmp_path / "cache"
    cache_dir.mkdir()
    (tmp_path / "job").mkdir()

    def end_in_the_middle(part: Path) -> None:
        part.write_bytes(b"half")
        os._exit(3)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = os.fork()
    if child == 0:
        try:
            ImageCache(cache_dir, max_bytes=1).bring(
                image.sha256, end_in_the_middle, tmp_path / "job" / "a"
            )
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3

    # The folder of the job is the dead worker's own, see `own_folder`.
    assert [one.read_bytes() for one in (tmp_path / "job").iterdir()] == [b"half"]
    assert list(cache_dir.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not DICOM", bytes(1000)])
def test_what_is_not_the_instance_is_not_kept(tmp_path: Path, content: bytes) -> None:
    cache = ImageCache(tmp_path / "cache", max_bytes=1 << 20)

    with pytest.raises(FileAreaError):
        cache.bring(
            "0" * 64, lambda part: part.write_bytes(content) and None, tmp_path / "x"
        )
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "x").exists()


def test_only_what_is_damaged_is_named_and_all_of_it(tmp_path: Path) -> None:
    area = open_area(
        WorkersSettings(enabled=True, files_url=f"file://{tmp_path}/files"),
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
    )
    images = instances(tmp_path, slices=4)
    keys = {area.key_of(one): one.sha256 for one in images}
    area.offer(images)
    damaged = sorted(keys)[1:3]
    for key in damaged:
        kept = tmp_path / "files" / key
        kept.write_bytes(bytes(kept.stat().st_size))

    with pytest.raises(FileDamagedError) as caught:
        area.fetch(keys, tmp_path / "job")
    assert caught.value.facts["damaged"] == damaged

    area.forget((), keys=damaged)
    assert area.offer(images) == sum(
        one.path.stat().st_size for one in images if area.key_of(one) in damaged
    )
    assert len(area.fetch(keys, tmp_path / "again")) == len(images)


def test_what_is_out_of_reach_is_not_called_damaged(tmp_path: Path) -> None:
    area = open_area(
        WorkersSettings(enabled=True, files_url=f"file://{tmp_path}/files"),
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
    )

    with pytest.raises(FileAreaError) as caught:
        area.fetch({"images/00/0": "0" * 64}, tmp_path / "job")

    assert "damaged" not in caught.value.facts


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"workers\.enabled"):
        load_settings(None, {"DICOM_NODE_WORKERS_ENABLED": "true"})
    with pytest.raises(SettingsError, match="names a protocol"):
        load_settings(None, {"DICOM_NODE_WORKERS_FILES_URL": "bucket/node"})
    with pytest.raises(SettingsError, match="is not known"):
        open_area(WorkersSettings(files_url="nowhere://x"), data_dir=tmp_path)
    for wrong in ("8043", "host:", "host:99999", ":1"):
        with pytest.raises(SettingsError, match="--listen"):
            work(listen=wrong)
    assert not NodeSettings().workers.enabled


def test_a_worker_has_a_folder_for_itself_and_removes_what_the_dead_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parent = tmp_path / f"dicom-node-work-{os.getuid()}"
    (parent / "dead").mkdir(parents=True)
    (parent / "dead.lock").touch()

    with own_folder(NodeSettings()) as first, own_folder(NodeSettings()) as second:
        there = {one.name for one in parent.iterdir()}
        assert there == {
            name for one in (first, second) for name in (one.name, f"{one.name}.lock")
        }
        assert parent.stat().st_mode & 0o077 == 0
    assert list(parent.iterdir()) == []

    parent.rename(tmp_path / "elsewhere")
    parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="another user"), own_folder(NodeSettings()):
        pass
