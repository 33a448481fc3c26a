from __future__ import annotations

import pytest

from training.errors import ConfigError
from training.evaluation.metrics import METRICS
from training.evaluation.presets import PRESETS, find_preset, how_to_obtain
from training.registry import load_registry


def test_the_public_benchmarks_are_there():
    assert list(PRESETS) == [
        "ms-cxr",
        "chestxray8",
        "vindr-cxr",
        "padchest-gr",
        "rexgroundingct",
        "medsg-bench",
    ]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_every_metric_and_figure_has_a_definition_and_a_source(preset):
    assert set(preset.metrics) <= set(METRICS)
    assert len(set(preset.metrics)) == len(preset.metrics)
    for row in preset.published:
        assert row.source
        assert row.values
        assert set(row.values) <= set(preset.metrics)
        assert all(0 <= value <= 1 for value in row.values.values())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_every_dataset_is_registered_with_its_licence(preset):
    if preset.dataset == "medsg-bench":  # has a reader of its own
        return

    assert preset.dataset in load_registry()
    assert load_registry()[preset.dataset].licence.id in how_to_obtain(preset)


def test_systems_are_named_as_they_call_themselves():
    names = {row.system for preset in PRESETS.values() for row in preset.published}

    assert {"MedRPG", "AG-KD", "RadVLM-7B", "SAT-FT", "DAGG"} <= names


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="ms-cxr, chestxray8"):
        find_preset("mscxr")
