"""Whole builds of tiny datasets."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.builders.tiny_builds import SETTINGS, contents, radiographs, sources
from tests.builders.tiny_dataset import (
    READER,
    TinyDataset,
    block,
    make_spec,
    texture,
)
from training.build.command import add_build_arguments, build_command
from training.build.execute import Execution
from training.build.ingest import Source
from training.build.pipeline import build
from training.errors import ConfigError, DatasetError
from training.layout import (
    RecordFile,
    iterate_shard,
    pixel_digest,
    read_shards,
    stored_slab,
    to_units,
)
from training.readers import READERS
from training.records import ImageRecord
from training.rle import decode_rle


@pytest.fixture(autouse=True)
def tiny_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "tiny", READER)


def _build(out: Path, *data: Source, **options: Any) -> dict[str, Any]:
    values = {"settings": SETTINGS, "progress": False}
    return build(data, out, **{**values, **options})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READERS, "tiny", READER)
        _build(folder / "out", *sources(folder / "data"))
    return folder


def _samples(out: Path) -> list[tuple[ImageRecord, dict[str, bytes]]]:
    return [
        (ImageRecord.from_json(sample["json"]), sample)
        for shard in read_shards(out)
        for sample in iterate_shard(out / "shards" / shard.name)
    ]


def test_every_sample_of_a_shard_is_a_line_of_the_records(built: Path) -> None:
    records, shards = RecordFile(built / "out"), read_shards(built / "out")

    for shard in shards:
        samples = list(iterate_shard(built / "out" / "shards" / shard.name))
        assert len(samples) == shard.samples
        for number, sample in enumerate(samples):
            line = records.line(shard.first + number)
            assert sample["json"] == line
            assert ImageRecord.from_json(line).split == shard.split
    assert sum(shard.samples for shard in shards) == len(records)
    assert len(shards) > 1


def test_every_record_fits_its_picture(built: Path) -> None:
    for record, sample in _samples(built / "out"):
        slab, offsets, _ = stored_slab(sample)
        picture = slab[offsets.index(0)]
        assert picture.shape[:2] == (record.height, record.width)
        assert pixel_digest(picture) == record.sha256
        assert record.filename == f"{sample['__key__'].decode()}.png"
        for region in record.regions:
            for start, end in region.tokens_positive:
                assert record.caption[start:end] == region.phrase
            for place, (left, top, right, bottom) in enumerate(region.bbox):
                assert 0 <= left < right <= record.width
                assert 0 <= top < bottom <= record.height
                if region.mask is not None:
                    rows, columns = np.nonzero(decode_rle(region.mask[place]))
                    assert (columns.min(), rows.min()) == (left, top)
                    assert (columns.max() + 1, rows.max() + 1) == (right, bottom)


def test_slices_keep_their_hounsfield_units_and_neighbours(built: Path) -> None:
    found = 0
    for record, sample in _samples(built / "out"):
        if record.dataset != "scans" or record.volume is None:
            continue
        name = record.image_id.removeprefix("scans/").partition("#")[0]
        volume = np.load(built / "data" / "scans" / f"{name}.npy")
        slab, offsets, info = stored_slab(sample)
        for offset, plane in zip(offsets, slab, strict=True):
            place = record.volume.index + offset
            np.testing.assert_array_equal(to_units(plane, info), volume[place])
        found += 1
    assert found > 5


def test_labels_become_regions_on_the_right_slices(built: Path) -> None:
    for record, _ in _samples(built / "out"):
        if record.volume is None:
            continue
        by_label = {one.label: one for one in record.regions}
        index = record.volume.index
        liver = by_label.get("liver")
        is_there = liver is not None and liver.status == "present"
        assert is_there == (2 <= index < 9)
        tumour = by_label.get("liver tumor")
        if 5 <= index < 7:
            assert tumour is not None
            assert len(tumour.bbox) == (2 if index == 5 else 1)
        assert "gallbladder" in (record.label_space or ())
        if "gallbladder" in by_label:
            assert by_label["gallbladder"].status == "absent"


def test_several_readers_are_fused(built: Path) -> None:
    mine = [
        record for record, _ in _samples(built / "out") if record.dataset == "readers"
    ]

    for record in mine:
        nodule = next(one for one in record.regions if one.label == "nodule")
        mass = next(one for one in record.regions if one.label == "mass")
        assert nodule.bbox == ((10.0, 10.0, 20.0, 20.0),)
        assert (nodule.weight, nodule.source) == (1.0, "fused")
        assert mass.weight == pytest.approx(1 / 3, abs=1e-6)
    assert len(mine) == 2


def test_big_pictures_are_shrunk_with_their_masks(built: Path) -> None:
    sizes = {
        record.height: record.regions[0].bbox
        for record, _ in _samples(built / "out")
        if record.dataset == "scopes"
    }

    assert sizes == {48: ((12, 12, 24, 24),), 64: ((16, 16, 32, 32),)}


def test_the_card_and_the_notes_name_everything(built: Path) -> None:
    out = built / "out"
    card, notes = (
        (out / "card.md").read_text(),
        json.loads((out / "build.json").read_text()),
    )

    for name, one in notes["datasets"].items():
        assert f"| {name} | CC-BY-4.0 |" in card
        assert f"The people of {name}" in (out / "ATTRIBUTION.md").read_text()
        with Image.open(out / "card" / f"{name}.png") as picture:
            assert picture.size[0] >= 320
        kept = sum(one["splits"].values())
        assert kept + sum(one["samples_dropped"].values()) == one["samples"]
    assert "slice of a volume that was not chosen" in card
    assert str(built) not in json.dumps(notes)


@pytest.mark.slow
def test_several_processes_write_the_same_bytes(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"

    _build(other, *sources(built / "data"), execution=Execution(workers=2))

    assert contents(other) == contents(built / "out")


def test_building_again_changes_nothing_and_works_nothing_twice(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    data = radiographs(tmp_path / "films")
    _build(out, data)
    before = contents(out)

    def never(*_: object) -> None:
        raise AssertionError("an image is read again")

    monkeypatch.setattr("training.build.blocks.samples_of", never)
    _build(out, data)

    assert contents(out) == before


def test_a_changed_file_is_read_again_and_old_shards_go(tmp_path: Path) -> None:
    data = radiographs(tmp_path / "films")
    _build(tmp_path / "out", data, settings=SETTINGS)
    many = len(list((tmp_path / "out" / "shards").glob("*.tar")))
    np.save(data.root / "cxr0.npy", texture(77))
    _build(tmp_path / "fresh", data)

    _build(tmp_path / "out", data)

    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert len(list((tmp_path / "out" / "shards").glob("*.tar"))) == many


@pytest.mark.slow
def test_a_build_that_was_killed_goes_on_to_the_same_bytes(
    built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    program = f"""
        import os, signal, sys
        from pathlib import Path
        from training.build import blocks, execute, pipeline
        from training.readers import READERS
        from tests.builders.tiny_builds import SETTINGS, sources
        READERS["tiny"] = {READER!r}
        data = sources(Path({str(built / "data")!r}))
        work, done = blocks.process_block, []
        def once(task):
            work(task)
            done.append(task)
            if len(done) == 3:
                (Path(task.folder) / "block-000099.bin.part").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        pipeline.process_block = once
        pipeline.build(data, Path({str(out)!r}), settings=SETTINGS, progress=False)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert not (out / "build.json").exists()
    assert len(list(out.glob(".work/images/*/*.json"))) == 3

    _build(out, *sources(built / "data"))

    assert contents(out) == contents(built / "out")


def test_what_is_kept_to_go_on_can_be_deleted(tmp_path: Path) -> None:
    _build(tmp_path / "out", radiographs(tmp_path / "films"), clean=True)

    assert not (tmp_path / "out" / ".work").exists()
    assert len(RecordFile(tmp_path / "out")) == 6


def _repackaged(root: Path) -> tuple[Source, Source]:
    """A dataset with a test split, and one that repackages some of its pictures."""
    first, second = TinyDataset(root / "first"), TinyDataset(root / "second")
    box = {"label": "nodule", "boxes": [(5, 5, 20, 20)]}
    other = {"label": "mass", "boxes": [(30, 5, 40, 20)]}
    for number in range(4):
        split = "test" if number < 2 else "train"
        first.add(f"a{number}", texture(number), box, split=split, view="LATERAL")
    second.add("b0", texture(0), other, patient_id="shared", view="LATERAL")
    second.add("b1", texture(9), other, patient_id="shared", split="train")
    second.add("b2", texture(3), box, view="LATERAL")
    second.add("b3", texture(8), other, view="LATERAL", split="train")
    specs = [make_spec(name, patient_unknown=True) for name in ("first", "second")]
    return Source(specs[0], first.root), Source(specs[1], second.root)


def test_a_test_picture_is_trained_on_under_no_other_name(tmp_path: Path) -> None:
    notes = _build(tmp_path / "out", *_repackaged(tmp_path))

    records = {one.image_id: one for one in RecordFile(tmp_path / "out")}
    assert records["second/b0"].split == "test"
    assert records["second/b0"].cluster == records["first/a0"].cluster
    assert "second/b1" not in records
    assert "second/b2" not in records
    assert records["second/b3"].split == "train"
    dropped = notes["datasets"]["second"]["samples_dropped"]
    assert sorted(dropped.values()) == [1, 1]
    splits: dict[str | None, set[str | None]] = {}
    for record in records.values():
        splits.setdefault(record.cluster, set()).add(record.split)
    assert all(len(one) == 1 for one in splits.values())


def test_the_order_of_datasets_changes_nothing(tmp_path: Path) -> None:
    one, other = _repackaged(tmp_path)

    _build(tmp_path / "there", one, other)
    _build(tmp_path / "back", other, one)

    assert contents(tmp_path / "there") == contents(tmp_path / "back")


def test_a_restrictive_licence_stops_a_build_before_anything_is_read(
    tmp_path: Path,
) -> None:
    data = radiographs(tmp_path / "films")
    closed = Source(
        make_spec("films", commercial=False, licence_id="CC-BY-NC-4.0"), data.root
    )

    with pytest.raises(ConfigError, match=r"CC-BY-NC-4\.0"):
        _build(tmp_path / "out", closed)
    assert not (tmp_path / "out").exists()

    notes = _build(
        tmp_path / "out", closed, allowed_licences=frozenset({"CC-BY-NC-4.0"})
    )

    assert notes["is_free"] is False
    assert {one.licence for one in RecordFile(tmp_path / "out")} == {"CC-BY-NC-4.0"}
    assert "no commercial use" in (tmp_path / "out" / "ATTRIBUTION.md").read_text()


def test_nothing_is_lost_without_a_reason(tmp_path: Path) -> None:
    data = TinyDataset(tmp_path / "data")
    box = {"label": "nodule", "boxes": [(5, 5, 20, 20)]}
    data.add("good", texture(1), box)
    data.add("nan", np.full((8, 8), np.nan), box)
    data.add("wrong", texture(2), {"label": "x", "mask": block((9, 9), (1, 5), (1, 5))})
    data.add("outside", texture(3), {"label": "x", "boxes": [(99, 99, 120, 120)]})
    data.add("gone", texture(4), box)
    (data.root / "gone.npy").unlink()
    (data.root / "index.json").touch()

    notes = _build(tmp_path / "out", Source(make_spec("holes"), data.root))

    told = notes["datasets"]["holes"]
    assert (told["images"], told["images_without_sample"], told["samples"]) == (5, 2, 3)
    assert told["dropped"] == {
        "box outside the picture or without area": 1,
        "image cannot be read (DatasetError)": 1,
        "image cannot be read (FileNotFoundError)": 1,
        "mask of another size than its picture": 1,
    }
    unsure = [region for one in RecordFile(tmp_path / "out") for region in one.regions]
    assert Counter(one.ignore for one in unsure) == {True: 2, False: 1}


def test_a_build_of_nothing_is_an_error(tmp_path: Path) -> None:
    data = TinyDataset(tmp_path / "data")
    data.add("nan", np.full((8, 8), np.nan))

    with pytest.raises(DatasetError, match="not a single image is left"):
        _build(tmp_path / "out", Source(make_spec("holes"), data.root))
    with pytest.raises(ConfigError, match="there is no folder"):
        _build(tmp_path / "out", Source(make_spec("none"), tmp_path / "none"))
    with pytest.raises(ConfigError, match="once"):
        _build(tmp_path / "out")


def test_two_images_of_one_name_are_an_error(tmp_path: Path) -> None:
    data = TinyDataset(tmp_path / "data")
    data.add("same", texture(1))
    data.add("same", texture(1))

    with pytest.raises(DatasetError, match="share an identifier"):
        _build(tmp_path / "out", Source(make_spec("twins"), data.root))


def test_names_of_patients_are_in_no_file_of_a_build_but_hashed(tmp_path: Path) -> None:
    data = TinyDataset(tmp_path / "data")
    data.add("one", texture(1), patient_id="DOE^JOHN", study_id="DOE-1")

    _build(tmp_path / "out", Source(make_spec("named"), data.root))

    for path in (tmp_path / "out").rglob("*"):
        assert "DOE" not in path.name
        assert not path.is_file() or b"DOE" not in path.read_bytes()


def test_the_command_builds_from_specifications_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = radiographs(tmp_path / "films")
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "films.yaml").write_text(data.spec.model_dump_json())
    parser = argparse.ArgumentParser()
    add_build_arguments(parser)
    arguments = ["--registry", f"films={data.root}", "--out", str(tmp_path / "out")]
    arguments += ["--specs", str(specs)]

    build_command(parser.parse_args(arguments))

    assert "films: 6 images" in capsys.readouterr().out
    assert len(RecordFile(tmp_path / "out")) == 6
    for wrong, named in ((["films"], "ID=FOLDER"), (["nope=/"], "there is no dataset")):
        options = parser.parse_args(["--registry", *wrong, *arguments[2:]])
        with pytest.raises(ConfigError, match=named):
            build_command(options)


def test_a_dataset_of_the_bundled_registry_is_built(tmp_path: Path) -> None:
    shape = (24, 20, 12)
    rng = np.random.default_rng(0)
    for number in range(2):
        case = tmp_path / "data" / f"s{number:04d}"
        (case / "segmentations").mkdir(parents=True)
        values = rng.integers(-900, 900, shape).astype(np.int16)
        _save(case / "ct.nii.gz", values)
        liver = np.zeros(shape, np.uint8)
        liver[14:22, 5:15, 2:9] = 1
        _save(case / "segmentations" / "liver.nii.gz", liver)
        _save(case / "segmentations" / "spleen.nii.gz", np.zeros(shape, np.uint8))
    meta = "image_id;age;gender;institute;study_type;split\n"
    meta += "s0000;61;f;A;ct abdomen;train\ns0001;50;m;A;ct abdomen;test\n"
    (tmp_path / "data" / "meta.csv").write_text(meta)
    parser = argparse.ArgumentParser()
    add_build_arguments(parser)

    data = f"totalsegmentator={tmp_path / 'data'}"
    out = str(tmp_path / "out")
    build_command(parser.parse_args(["--registry", data, "--out", out]))

    records = list(RecordFile(tmp_path / "out"))
    assert {record.split for record in records} == {"train", "test"}
    for record in records:
        liver_here = [
            one for one in record.regions if one.label == "liver" and one.bbox
        ]
        assert record.volume is not None
        assert bool(liver_here) == (2 <= record.volume.index < 9)
        for region in liver_here:
            # The file grows to the right of the patient, the picture to the left.
            assert region.bbox == ((2.0, 5.0, 10.0, 15.0),)
            assert region.codes["type"][2] == "Liver"
        assert "spleen" in (record.label_space or ())


def _save(path: Path, values: np.ndarray) -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    nib.save(nib.Nifti1Image(values, affine), path)
