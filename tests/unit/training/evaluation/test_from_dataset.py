from __future__ import annotations

import numpy as np
import pytest

from tests.builders.tiny_builds import (
    photographs,
    radiographs,
    several_readers,
    volumes,
)
from training import readers
from training.errors import ConfigError, DatasetError
from training.evaluation.from_dataset import cases_of_dataset


@pytest.fixture(autouse=True)
def _tiny_reader(monkeypatch):
    from tests.builders.tiny_dataset import READER

    monkeypatch.setitem(readers.READERS, "tiny", READER)


def _cases(source, **options):
    return list(cases_of_dataset(source.root, source.spec, **options))


def test_radiographs_ask_labels_and_deny_what_nobody_saw(tmp_path):
    case, *others = _cases(radiographs(tmp_path / "films"))

    assert len(others) == 5
    assert case.phrases == ("pleural effusion", "lung nodule", "pneumothorax")
    assert [truth.is_present for truth in case.truths] == [True, True, False]
    assert case.truths[0].boxes == ((0, (40, 20, 50, 40)),)
    assert case.stack.pixels.shape == (1, 48, 64)
    assert case.stack.spacing_mm == (0.0, 0.5, 0.5)
    assert case.name == "films/cxr0"


def test_a_patient_of_two_pictures_is_one_patient_and_a_pseudonym(tmp_path):
    cases = _cases(radiographs(tmp_path / "films"))

    assert len({case.patient for case in cases}) == 3
    assert not any(case.patient == "p0" for case in cases)


def test_a_volume_is_asked_whole(tmp_path):
    case, _ = _cases(volumes(tmp_path / "scans"))

    assert case.stack.is_volume
    assert case.stack.pixels.shape == (12, 40, 48)
    assert case.phrases == ("liver", "spleen", "liver tumor", "gallbladder")
    liver, *_, gallbladder = case.truths
    mask = liver.load_mask()
    assert mask.shape == (12, 40, 48)
    assert mask.sum() == 7 * 22 * 17
    assert not gallbladder.is_present


def test_what_several_readers_drew_is_one_box(tmp_path):
    case, _ = _cases(several_readers(tmp_path / "readers"))

    nodule = next(truth for truth in case.truths if truth.phrase == "nodule")
    assert nodule.boxes == ((0, (10.0, 10.0, 20.0, 20.0)),)


def test_a_photograph_keeps_its_colours(tmp_path):
    case, _ = _cases(photographs(tmp_path / "scopes"))

    assert case.stack.pixels.shape == (1, 48, 48, 3)
    assert case.stack.pixels.dtype == np.uint8
    assert case.truths[0].load_mask().sum() == 12 * 12


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="split 'test'"):
        _cases(radiographs(tmp_path / "films"), split="test")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    source = radiographs(tmp_path / "films")

    with pytest.raises(ConfigError, match="no folder"):
        list(cases_of_dataset(tmp_path / "nowhere", source.spec))
