from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.picture_files import save_picture, spec_of
from training.errors import ConfigError, DatasetError
from training.readers import READERS, find_reader
from training.readers.layout import ImageLayout, modality_of, official_split
from training.registry import load_registry


def test_every_registered_dataset_has_a_reader_and_sound_options() -> None:
    for spec in load_registry().values():
        reader = find_reader(spec.reader)
        with pytest.raises(DatasetError) as caught:
            list(reader(Path("/nowhere"), spec))
        assert "layout option" not in str(caught.value), spec.id


def test_the_table_of_readers_is_sorted_and_every_reader_is_there() -> None:
    assert list(READERS) == sorted(READERS)
    for name in READERS:
        assert callable(find_reader(name))


def test_an_unknown_reader_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no reader 'cocoa'.*coco"):
        find_reader("cocoa")


def test_a_misspelt_option_is_refused(tmp_path: Path) -> None:
    spec = spec_of("rsna", {"labelx": "x.csv"})

    with pytest.raises(DatasetError, match="demo: layout option labelx"):
        list(find_reader("rsna")(tmp_path, spec))


def test_a_missing_image_is_an_error_or_left_out(tmp_path: Path) -> None:
    there = save_picture(tmp_path / "a.png")
    strict, lenient = ImageLayout(), ImageLayout(missing_images="skip")

    assert strict.find(there, "here") == there
    assert lenient.find(tmp_path / "b.png", "here") is None
    with pytest.raises(DatasetError, match=r"here: the image b\.png is not there"):
        strict.find(tmp_path / "b.png", "here")


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("validation", "val"),
        ("validate", "val"),
        (" test ", "test"),
        ("testA", "test"),
        ("", None),
        (None, None),
    ],
)
def test_splits_have_many_names(word: str | None, split: str | None) -> None:
    assert official_split(word) == split


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"^a\.csv, line 3: no split"):
        official_split("holdout", "a.csv, line 3")


def test_the_longest_beginning_names_the_modality() -> None:
    table = {"mr": "MR", "mra": "XA", "x-ray": "DX"}

    assert modality_of("mr_t1", table) == "MR"
    assert modality_of("mra_0", table) == "XA"
    assert modality_of("X-Ray", table) == "DX"
    assert modality_of("ct_00", table) is None
