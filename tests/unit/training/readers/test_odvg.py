from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.picture_files import (
    read_all,
    registered,
    save_json,
    save_picture,
    save_text,
    spec_of,
)
from training.build.normalise import describe_picture, encode_plane, store_plane
from training.build.settings import BuildSettings
from training.errors import DatasetError
from training.readers.source import Picture
from training.records import ImageRecord, PhraseRegion
from training.rle import encode_rle

LINE = {
    "filename": "a.png",
    "height": 512,
    "width": 512,
    "grounding": {
        "caption": "left effusion . cardiomegaly . pneumothorax .",
        "regions": [
            {
                "phrase": "left effusion",
                "bbox": [[300, 310, 460, 480], [10, 20, 30, 40]],
                "tokens_positive": [[0, 13]],
            },
            {
                "phrase": "cardiomegaly",
                "bbox": [120, 200, 400, 430],
                "tokens_positive": [[16, 28]],
            },
            {"phrase": "pneumothorax", "bbox": [], "tokens_positive": [[31, 43]]},
            {"phrase": "fracture"},
        ],
    },
}


def write(root: Path, *lines: object) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    save_text(root / "a.jsonl", text)
    for name in ("a.png", "b.png"):
        save_picture(root / "images" / name)
    return root


def spec(**part: object) -> Any:
    parts = [{"annotations": "a.jsonl", "images": "images", **part}]
    return spec_of("odvg", {"parts": parts})


def test_a_box_may_be_one_or_many(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path, LINE), spec(split="train"))

    effusion, cardiomegaly = image.regions[:2]
    assert effusion.phrase == "left effusion"
    assert effusion.boxes_xyxy == ((300, 310, 460, 480), (10, 20, 30, 40))
    assert cardiomegaly.boxes_xyxy == ((120, 200, 400, 430),)
    assert image.split == "train"
    assert image.load().pixels.shape == (6, 8)


def test_a_region_without_a_box_is_kept_as_absent(tmp_path: Path) -> None:
    (image,) = read_all(write(tmp_path, LINE), spec())

    said = [(region.phrase, region.status) for region in image.regions[2:]]
    assert said == [("pneumothorax", "absent"), ("fracture", "absent")]


def test_a_picture_of_several_lines_has_several_names(tmp_path: Path) -> None:
    images = read_all(write(tmp_path, LINE, LINE, LINE), spec())

    assert [image.image_id for image in images] == ["a", "a-2", "a-3"]


@pytest.mark.parametrize("grounding", [{"caption": "", "regions": []}, {"regions": []}])
def test_a_line_without_regions_is_kept(
    tmp_path: Path, grounding: dict[str, object]
) -> None:
    (image,) = read_all(write(tmp_path, {**LINE, "grounding": grounding}), spec())

    assert image.regions == ()


def test_a_phrase_may_be_a_list_or_only_a_span(tmp_path: Path) -> None:
    regions = [
        {"phrase": ["left", "effusion"], "bbox": [1, 2, 3, 4]},
        {"bbox": [1, 2, 3, 4], "tokens_positive": [[0, 4], [16, 28]]},
    ]
    line = {**LINE, "grounding": {**LINE["grounding"], "regions": regions}}  # type: ignore[dict-item]

    (image,) = read_all(write(tmp_path, line), spec())

    assert [r.phrase for r in image.regions] == ["left effusion", "left cardiomegaly"]


def test_detections_are_grouped_and_the_label_map_is_what_was_looked_for(
    tmp_path: Path,
) -> None:
    instances = [
        {"bbox": [1, 2, 3, 4], "label": 0, "category": "lung_nodule"},
        {"bbox": [5, 6, 7, 8], "label": 0},
    ]
    line = {
        "filename": "a.png",
        "height": 10,
        "width": 10,
        "detection": {"instances": instances},
    }
    empty = {**line, "filename": "b.png", "detection": {"instances": []}}
    root = write(tmp_path, line, empty)
    save_json(root / "map.json", {"0": "lung_nodule", "1": "mass"})

    first, second = read_all(root, spec(label_map="map.json"))

    (nodules,) = first.regions
    assert nodules.boxes_xyxy == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert first.label_space == second.label_space == ("lung nodule", "mass")
    assert second.regions == ()


def test_without_a_label_map_no_absence_is_claimed(tmp_path: Path) -> None:
    instances = [{"bbox": [1, 2, 3, 4], "label": 0, "category": "mass"}]
    line = {**LINE, "detection": {"instances": instances}}

    (image,) = read_all(write(tmp_path, line), spec())

    assert image.label_space is None
    assert image.regions[0].label == "mass"


def record_of(*regions: PhraseRegion) -> ImageRecord:
    return ImageRecord(
        image_id="demo/1",
        filename="a.png",
        sha256="0" * 64,
        phash="0" * 16,
        height=6,
        width=8,
        modality="CT",
        body_part="chest",
        view=None,
        dataset="demo",
        licence="CC0-1.0",
        tier="manual",
        patient_key="p",
        study_key="s",
        split="val",
        cluster="c",
        volume=None,
        prior=None,
        report=None,
        label_space=("lung nodule", "mass"),
        caption=" . ".join(region.phrase for region in regions),
        regions=regions,
        spacing_mm=(0.7, 0.8),
    )


def write_stored(root: Path, pixels: Any, *, modality: str) -> Any:
    """Store a record's picture as a build does and return how it is stored."""
    settings = BuildSettings()
    picture = Picture(pixels, spacing_mm=None, is_volume=False)
    info = describe_picture(picture, modality=modality, settings=settings)
    plane = store_plane(pixels, info, settings=settings, modality=modality)
    save_text(root / "a.jsonl", record_of().to_json() + "\n")
    save_text(root / "images" / "a.picture.json", info.to_json())
    (root / "images" / "a.png").write_bytes(encode_plane(plane, jpeg_quality=0))
    return info


HU = np.arange(-1024, -1024 + 48 * 60, 60, dtype=np.int16).reshape(6, 8)


@pytest.mark.parametrize(
    ("pixels", "modality"),
    [
        (HU, "CT"),
        (HU / 7.0, "MR"),
        (np.arange(48, dtype=np.uint8).reshape(6, 8), "CT"),
        (np.arange(144, dtype=np.uint8).reshape(6, 8, 3), "ES"),
    ],
)
def test_a_record_of_a_build_has_its_units_and_spacing_again(
    tmp_path: Path, pixels: Any, modality: str
) -> None:
    info = write_stored(tmp_path, pixels, modality=modality)

    (image,) = read_all(tmp_path, spec())

    picture = image.load()
    assert picture.spacing_mm == (0.0, 0.7, 0.8)
    assert picture.pixels.dtype.kind == pixels.dtype.kind
    np.testing.assert_allclose(picture.pixels, pixels, atol=info.scale * 0.501)
    again = describe_picture(picture, modality=modality, settings=BuildSettings())
    assert again.units == info.units


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_record_of_16_bits_without_its_units_is_refused(
    tmp_path: Path, text: str | None
) -> None:
    write_stored(tmp_path, HU, modality="CT")
    beside = tmp_path / "images" / "a.picture.json"
    beside.unlink()
    if text is not None:
        save_text(beside, text)

    (image,) = read_all(tmp_path, spec())

    with pytest.raises(DatasetError, match=r"a\.picture\.json"):
        image.load()


def test_our_own_records_come_back_whole(tmp_path: Path) -> None:
    one, other = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    one[1:3, 2:4] = other[4:6, 0:5] = True
    nodule = PhraseRegion(
        region_id="r0",
        phrase="small nodule in the left lung",
        tokens_positive=((0, 29),),
        label="lung nodule",
        bbox=((2, 1, 4, 3), (0, 4, 5, 6)),
        mask=(encode_rle(one), encode_rle(other)),
        laterality="L",
        codes={"type": ("27925004", "SCT", "Nodule")},
        attributes={"size": "small"},
        progression="stable",
        reader="R1",
        source="pseudo",
        complete=False,
    )
    absent = PhraseRegion(
        region_id="r1", phrase="mass", tokens_positive=(), status="absent"
    )
    record = record_of(nodule, absent)
    save_text(tmp_path / "a.jsonl", record.to_json() + "\n")
    save_picture(tmp_path / "images" / "a.png")

    (image,) = read_all(tmp_path, spec())

    region, other_region = image.regions
    assert (region.label, region.phrase) == (nodule.label, nodule.phrase)
    assert region.boxes_xyxy == nodule.bbox
    assert region.mask is not None
    assert np.array_equal(region.mask(), one | other)
    assert (region.laterality, region.codes) == ("L", nodule.codes)
    assert (region.attributes, region.progression) == ({"size": "small"}, "stable")
    assert (region.reader, region.tier, region.complete) == ("R1", "pseudo", False)
    assert (other_region.label, other_region.status) == ("mass", "absent")
    assert (image.image_id, image.patient_id, image.study_id) == ("demo/1", "p", "s")
    assert (image.modality, image.split) == ("CT", "val")
    assert image.label_space == record.label_space


def changed(**region: object) -> dict[str, Any]:
    regions = [{"phrase": "x", "bbox": [1, 2, 3, 4], **region}]
    return {**LINE, "grounding": {"caption": "x", "regions": regions}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"height": 1}, "line 1: no filename"),
        ({**LINE, "grounding": None}, "line 1: no grounding"),
        (changed(bbox=[1, 2, 3]), r"bbox: not 4 numbers"),
        (changed(bbox=[[1, 2, 3, 4], [3, 4, 1, 2]]), r"bbox\[1\]: a box is empty"),
        (changed(bbox=[1, 2, 600, 4]), r"bbox: a box reaches out"),
        (changed(phrase=[]), "phrase: no words"),
        (
            {**LINE, "grounding": {"regions": [{"bbox": [1, 2, 3, 4]}]}},
            r"regions\[0\]: neither phrase nor caption",
        ),
        (changed(phrase=None), r"regions\[0\]: no tokens_positive"),
        (
            changed(phrase=None, tokens_positive=[[0, 5]]),
            r"tokens_positive\[0\]: a span lies outside",
        ),
        ({**LINE, "filename": "c.png"}, r"line 1: the image c\.png is not there"),
        ({**LINE, "schema": "medglip-odvg/1"}, "line 1: not a record"),
        (
            {**LINE, "detection": {"instances": [{"bbox": [1, 2, 3, 4], "label": 3}]}},
            r"instances\[0\]: its label is not in the label map",
        ),
    ],
)
def test_an_impossible_line_is_named(
    tmp_path: Path, line: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=r"^a\.jsonl, line 1") as caught:
        read_all(write(tmp_path, line), spec())

    assert re.search(message, str(caught.value))


def test_the_registered_example_reads_a_line(tmp_path: Path) -> None:
    name = "final_flickr_separateGT_train_vg.json"
    save_text(tmp_path / name, json.dumps(LINE) + "\n")
    save_picture(tmp_path / "flickr30k_images" / "a.png")

    (image,) = read_all(tmp_path, registered("flickr30k-odvg"))

    assert len(image.regions) == 4


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, {**LINE, "filename": "c.png"}, LINE)
    part = {"annotations": "a.jsonl", "images": "images"}
    lenient = spec_of("odvg", {"parts": [part], "missing_images": "skip"})

    (image,) = read_all(root, lenient)

    assert image.image_id == "a"
