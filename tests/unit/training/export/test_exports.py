from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO
from PIL import Image

from tests.builders.exports import write_build
from tests.builders.odvg_checks import check_mm_gdino, check_open_groundingdino
from tests.builders.records import make_record, make_region
from tests.builders.tiny_dataset import block
from training.errors import ConfigError, DatasetError
from training.export import export_coco, export_odvg, export_pictures
from training.export.command import add_export_arguments, export_command
from training.layout import RecordFile
from training.records import ImageRecord
from training.rle import decode_rle, encode_rle

SIZE = (48, 64)
MASKS = (block(SIZE, (2, 9), (3, 12)), block(SIZE, (20, 30), (40, 60)))
BOXES = ((3.0, 2.0, 12.0, 9.0), (40.0, 20.0, 60.0, 30.0))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    records = [
        make_record(
            make_region(
                "left-sided nodules",
                label="nodule",
                bbox=BOXES,
                mask=tuple(encode_rle(mask) for mask in MASKS),
            ),
            make_region("effusion", bbox=((10.5, 4.25, 20.0, 30.0),)),
            make_region("pneumothorax", status="absent"),
            make_region("old scar", ignore=True, bbox=((1, 1, 5, 5),)),
            label_space=("nodule", "effusion", "pneumothorax", "fracture"),
            filename="a.png",
        ),
        make_record(
            make_region("effusion", status="absent"), filename="b.png", image_id="t/b"
        ),
        make_record(
            make_region("mass", bbox=((0, 0, 9, 9),)),
            filename="c.png",
            image_id="t/c",
            split="test",
        ),
    ]
    return write_build(tmp_path / "build", records)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_mm_gdino_gets_all_boxes_of_a_phrase(built: Path, tmp_path: Path) -> None:
    counts = export_odvg(built, tmp_path / "out", split="train")

    loaded = check_mm_gdino(_lines(tmp_path / "out" / "train.jsonl"), label_map=None)
    assert counts == {"pictures": 2, "pictures that the format cannot say": 0}
    first = loaded[0]
    assert [box for box, _ in first["instances"]] == [*BOXES, (10.5, 4.25, 20.0, 30.0)]
    assert [phrase for _, phrase in first["instances"]] == [
        "left-sided nodules",
        "left-sided nodules",
        "effusion",
    ]
    assert "pneumothorax" in first["text"]
    assert loaded[1]["instances"] == []


def test_open_groundingdino_gets_one_box_a_region(built: Path, tmp_path: Path) -> None:
    counts = export_odvg(
        built, tmp_path / "out", split="train", flavour="open-groundingdino"
    )

    loaded = check_open_groundingdino(
        _lines(tmp_path / "out" / "train.jsonl"), label_map=None
    )
    assert counts == {"pictures": 1, "pictures that the format cannot say": 1}
    assert [box for box, _ in loaded[0]] == [*BOXES, (10.5, 4.25, 20.0, 30.0)]


@pytest.mark.parametrize("flavour", ["mm-gdino", "open-groundingdino"])
def test_detection_has_numbers_that_the_label_map_explains(
    built: Path, tmp_path: Path, flavour: Any
) -> None:
    for split in ("train", "test"):
        export_odvg(
            built, tmp_path / "out", split=split, flavour=flavour, task="detection"
        )

    names = json.loads((tmp_path / "out" / "label_map.json").read_text("utf-8"))
    check = check_mm_gdino if flavour == "mm-gdino" else check_open_groundingdino
    lines = _lines(tmp_path / "out" / "train.jsonl")
    check(lines, label_map=names)
    check(_lines(tmp_path / "out" / "test.jsonl"), label_map=names)
    instances = lines[0]["detection"]["instances"]
    assert [names[str(one["label"])] for one in instances] == [
        "nodule",
        "nodule",
        "effusion",
    ]


def test_an_unknown_flavour_is_refused(built: Path, tmp_path: Path) -> None:
    flavour: Any = "yolo"

    with pytest.raises(ConfigError, match="yolo"):
        export_odvg(built, tmp_path, split="train", flavour=flavour)


@pytest.fixture
def coco(built: Path, tmp_path: Path) -> COCO:
    path = tmp_path / "coco" / "train.json"
    counts = export_coco(built, path, split="train")
    assert counts == {
        "images": 2,
        "annotations": 3,
        "regions that COCO cannot say": 1,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_a_stranger_reads_boxes_and_masks_from_coco(coco: COCO) -> None:
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))

    assert [one["bbox"] for one in found] == [
        [3, 2, 9, 7],
        [40, 20, 20, 10],
        [10.5, 4.25, 9.5, 25.75],
    ]
    for one, mask in zip(found[:2], MASKS, strict=True):
        np.testing.assert_array_equal(coco.annToMask(one).astype(bool), mask)
        assert one["area"] == mask.sum()
    names = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    assert [names[one["category_id"]] for one in found] == [
        "nodule",
        "nodule",
        "effusion",
    ]
    assert 0 not in names


def test_coco_says_what_was_looked_for_in_vain(coco: COCO) -> None:
    names = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    first, second = coco.loadImgs([1, 2])

    assert {names[one] for one in first["neg_category_ids"]} == {
        "pneumothorax",
        "fracture",
    }
    assert [names[one] for one in first["not_exhaustive_category_ids"]] == ["old scar"]
    assert [names[one] for one in second["neg_category_ids"]] == ["effusion"]


def test_pictures_are_unpacked_as_any_trainer_reads_them(
    built: Path, tmp_path: Path
) -> None:
    number = export_pictures(built, tmp_path / "images", split="train")

    assert number == 2
    with Image.open(tmp_path / "images" / "a.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (64, 48))


def test_the_records_are_what_was_written(built: Path) -> None:
    records: list[ImageRecord] = list(RecordFile(built))

    masks = records[0].regions[0].mask
    assert masks is not None
    np.testing.assert_array_equal(decode_rle(masks[1]), MASKS[1])


@pytest.mark.parametrize("kind", ["mm-gdino", "open-groundingdino", "coco"])
def test_the_command_writes_the_format_that_is_asked_for(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    parser = argparse.ArgumentParser()
    add_export_arguments(parser)
    out = tmp_path / "out"
    arguments = [str(built), "--out", str(out), "--format", kind, "--pictures"]

    export_command(parser.parse_args(arguments))

    name = "train.json" if kind == "coco" else "train.jsonl"
    assert (out / name).stat().st_size > 0
    assert len(list((out / "images").iterdir())) == 2
    assert "files: 2" in capsys.readouterr().out
    assert "the authors" in (out / "ATTRIBUTION.md").read_text("utf-8")


@pytest.mark.parametrize("task", ["grounding", "detection"])
@pytest.mark.parametrize("flavour", ["mm-gdino", "open-groundingdino"])
def test_a_line_says_whose_data_it_is(
    built: Path, tmp_path: Path, flavour: Any, task: Any
) -> None:
    export_odvg(built, tmp_path / "out", split="train", flavour=flavour, task=task)

    record = RecordFile(built)[0]
    for line in _lines(tmp_path / "out" / "train.jsonl"):
        assert line["dataset"] == record.dataset
        assert line["licence"] == record.licence
        assert line["tier"] == record.tier


def test_a_picture_of_coco_says_whose_data_it_is(coco: COCO, built: Path) -> None:
    record = RecordFile(built)[0]

    said = {(one["dataset"], one["licence"], one["tier"]) for one in coco.loadImgs([1])}

    assert said == {(record.dataset, record.licence, record.tier)}


def test_what_names_nobody_is_not_passed_on(built: Path, tmp_path: Path) -> None:
    (built / "ATTRIBUTION.md").unlink()

    for export in (export_odvg, export_coco):
        with pytest.raises(DatasetError, match="ATTRIBUTION"):
            export(built, tmp_path / "out" / "x", split="train")
    assert not (tmp_path / "out").exists()
