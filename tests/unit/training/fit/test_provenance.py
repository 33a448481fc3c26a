from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.medglip import read_metadata
from tests.builders.fit_process import HALVES
from training.config import SourceConfig, TrainingConfig
from training.derived.builders import BUILDERS
from training.derived.licences import DRAWN_LICENCES
from training.errors import ConfigError
from training.fit.loop import fit
from training.fit.provenance import data_of, data_of_checkpoint, metadata_of
from training.fit.sources import SOURCES, build_stream
from training.fit.trainer import Trainer
from training.fit.world import World

RESTRICTED = {
    "id": "CC-BY-NC-SA-4.0",
    "commercial": False,
    "redistribute": True,
    "derivatives": True,
    "share_alike": True,
    "url": None,
    "attribution": "somebody",
    "citation": None,
}
FREE = {**RESTRICTED, "id": "CC0-1.0", "commercial": True, "share_alike": False}
TOY = replace(
    HALVES,
    steps=1,
    core_every=0,
    loss_weights={"dense": 1.0, "presence": 0.0, "words": 0.0, "core": 0.0},
    sources=(SourceConfig("toy"),),
)


def write_build(folder: Path, **licences: Any) -> Path:
    folder.mkdir()
    told = {"datasets": {name: {"licence": one} for name, one in licences.items()}}
    (folder / "build.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def of(*sources: SourceConfig) -> TrainingConfig:
    return replace(HALVES, sources=sources)


def test_one_restriction_is_passed_on_to_the_whole(tmp_path: Path) -> None:
    build = write_build(tmp_path / "b", open=FREE, closed=RESTRICTED)
    shards = SourceConfig("mine", shards=str(build))
    drawn = SourceConfig("drawn", kind="slices", options={"cells": 1, "skin": 1})

    texts = metadata_of(data_of(of(shards, drawn)))

    listed = json.loads(texts["training_data"])
    assert [(one["dataset"], one["licence"]) for one in listed] == [
        ("cells", "BSD-3-Clause"),
        ("closed", "CC-BY-NC-SA-4.0"),
        ("open", "CC0-1.0"),
        ("skin", "Apache-2.0"),
    ]
    assert (texts["commercial"], texts["share_alike"]) == ("no", "yes")
    free = metadata_of(data_of(of(drawn)))
    assert (free["commercial"], free["share_alike"]) == ("yes", "no")


def test_every_source_that_can_be_drawn_has_a_licence() -> None:
    assert set(DRAWN_LICENCES) == set(BUILDERS)
    for name in [*BUILDERS, *(set(SOURCES) - {"shards", "slices"})]:
        assert data_of(of(SourceConfig(name)))


@pytest.mark.parametrize(
    "told", [None, "{", "[]", "{}", '{"datasets": {}}', '{"datasets": {"a": {}}}']
)
def test_a_build_that_does_not_say_its_licences_is_not_learned_from(
    tmp_path: Path, told: str | None
) -> None:
    if told is not None:
        (tmp_path / "build.json").write_text(told)
    config = of(SourceConfig("mine", shards=str(tmp_path)))

    with pytest.raises(ConfigError, match="licence"):
        Trainer(config)


def test_a_drawn_source_without_a_licence_is_refused() -> None:
    with pytest.raises(ConfigError, match="moon"):
        data_of(of(SourceConfig("drawn", kind="slices", options={"moon": 1})))


def test_weights_carry_what_they_and_their_ancestors_were_fitted_on(
    tmp_path: Path,
) -> None:
    build = write_build(tmp_path / "b", closed=RESTRICTED)
    first = Trainer(of(SourceConfig("mine", shards=str(build))))
    (tmp_path / "first").mkdir()
    first.save(tmp_path / "first")

    fit(TOY, build_stream(TOY, World()), tmp_path / "out", init=tmp_path / "first")

    names = [one.dataset for one in data_of_checkpoint(tmp_path / "out")]
    assert names == ["closed", "toy"]
    assert read_metadata(tmp_path / "out")["commercial"] == "no"
    resumed = Trainer(TOY)
    resumed.resume(tmp_path / "out")
    assert sorted(one.dataset for one in resumed.data) == names


def test_a_checkpoint_that_says_nothing_of_its_data_promises_nothing(
    tmp_path: Path,
) -> None:
    Trainer(TOY).model.save_pretrained(tmp_path)

    data = data_of_checkpoint(tmp_path)

    assert [one.licence for one in data] == ["LicenseRef-unknown"]
    assert metadata_of(data)["commercial"] == "no"


@pytest.mark.parametrize("text", ["{", "[1]", '[{"dataset": "a"}]'])
def test_a_damaged_head_is_no_start(tmp_path: Path, text: str) -> None:
    metadata = {"training_data": text}
    Trainer(TOY).model.save_pretrained(tmp_path / "init", metadata=metadata)

    with pytest.raises(ConfigError, match="started from"):
        fit(TOY, build_stream(TOY, World()), tmp_path / "o", init=tmp_path / "init")
