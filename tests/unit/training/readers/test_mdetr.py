from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.picture_files import (
    by_id,
    read_all,
    registered,
    save_json,
    save_picture,
    spec_of,
)
from training.errors import DatasetError
from training.readers.jsonfile import Node
from training.readers.mdetr import caption_phrase

# Two bytes a letter in UTF-8, so that spans of bytes would cut elsewhere.
CAPTION = "Ärzte sehen left effusion and cardiomegaly"
PICTURE = {"file_name": "a.jpg", "height": 480, "width": 640}
TREE: dict[str, Any] = {
    "images": [
        {
            "id": 1,
            "file_name": "a.jpg",
            "height": 480,
            "width": 640,
            "caption": CAPTION,
        },
        {
            "id": 2,
            "file_name": "a.jpg",
            "height": 480,
            "width": 640,
            "caption": "heart",
        },
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "bbox": [10, 20, 100, 80],
            "tokens_positive": [[12, 25]],
            "category_id": 1,
            "area": 8000,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 1,
            "bbox": [200, 20, 10, 8],
            "tokens_positive": [[12, 25]],
            "category_id": 1,
        },
        {
            "id": 3,
            "image_id": 1,
            "bbox": [300, 20, 10, 8],
            "tokens_positive": [[12, 16], [30, 42]],
            "category_id": 1,
        },
    ],
    "categories": [{"id": 1, "name": "object"}],
}


def write(root: Path, tree: dict[str, Any] = TREE) -> Path:
    save_json(root / "final_flickr_separateGT_train.json", tree)
    save_picture(root / "flickr30k_images" / "a.jpg")
    return root


def test_spans_count_characters_and_same_words_are_one_region(tmp_path: Path) -> None:
    images = by_id(read_all(write(tmp_path), registered("flickr30k-mdetr")))

    first = images["a-1"]
    assert [(r.phrase, r.boxes_xyxy) for r in first.regions] == [
        ("left effusion", ((10, 20, 110, 100), (200, 20, 210, 28))),
        ("left cardiomegaly", ((300, 20, 310, 28),)),
    ]
    assert first.report == CAPTION
    assert first.split == "train"


def test_every_caption_of_a_picture_comes(tmp_path: Path) -> None:
    images = by_id(read_all(write(tmp_path), registered("flickr30k-mdetr")))

    assert list(images) == ["a-1", "a-2"]
    assert images["a-2"].regions == ()


def test_sources_have_folders_of_their_own(tmp_path: Path) -> None:
    images = [
        {**TREE["images"][0], "data_source": "vg"},
        {**TREE["images"][1], "dataset_name": "coco", "file_name": "b.jpg"},
    ]
    save_json(tmp_path / "mixed.json", {**TREE, "images": images})
    save_picture(tmp_path / "gqa" / "a.jpg")
    save_picture(tmp_path / "train2014" / "b.jpg")
    folders = {"vg": "gqa", "coco": "train2014"}
    spec = spec_of(
        "mdetr", {"parts": [{"annotations": "mixed.json", "folders": folders}]}
    )

    assert len(read_all(tmp_path, spec)) == 2


@given(st.text(min_size=1, max_size=30), st.data())
def test_a_span_gives_back_its_words(caption: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(caption) - 1))
    end = data.draw(st.integers(start + 1, len(caption)))
    spans = Node([[start, end]], "here")

    if not caption[start:end].strip():
        with pytest.raises(DatasetError, match="no words"):
            caption_phrase(caption, spans)
    else:
        assert caption_phrase(caption, spans) == caption[start:end].strip()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens_positive": [[0, 99]]}, r"tokens_positive\[0\]: a span lies outside"),
        ({"tokens_positive": [[5, 5]]}, r"tokens_positive\[0\]: a span lies outside"),
        ({"tokens_positive": [[-2, 5]]}, r"tokens_positive\[0\]: a span lies outside"),
        ({"tokens_positive": []}, "tokens_positive: no words"),
        ({"tokens_positive": None}, "no tokens_positive"),
        ({"bbox": [1, 2, 0, 4]}, "bbox: a box is empty"),
    ],
)
def test_an_impossible_annotation_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    tree = {**TREE, "annotations": [{**TREE["annotations"][0], **change}]}

    with pytest.raises(DatasetError, match=r"annotations\[0\](\.|: )" + message):
        read_all(write(tmp_path, tree), registered("flickr30k-mdetr"))


def test_images_that_are_not_there_can_be_left_out(tmp_path: Path) -> None:
    images = [TREE["images"][0], {**TREE["images"][1], "file_name": "b.jpg"}]
    part = {
        "annotations": "final_flickr_separateGT_train.json",
        "images": "flickr30k_images",
    }
    spec = spec_of("mdetr", {"parts": [part], "missing_images": "skip"})

    (image,) = read_all(write(tmp_path, {**TREE, "images": images}), spec)

    assert image.image_id == "a-1"
