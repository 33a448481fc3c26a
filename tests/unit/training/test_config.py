from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from training.config import SourceConfig, StageConfig, TrainingConfig
from training.errors import ConfigError


def recipes() -> list[Path]:
    folder = Path(str(resources.files("training") / "configs"))
    return sorted(folder.glob("*.toml"))


@pytest.mark.parametrize("recipe", recipes(), ids=lambda path: path.stem)
def test_settings_come_back_from_the_folder_of_a_checkpoint(tmp_path, recipe):
    config = TrainingConfig.load(recipe)

    config.save(tmp_path)

    assert TrainingConfig.load_beside(tmp_path) == config


def test_the_shipped_recipe_fits_the_network():
    (recipe,) = (path for path in recipes() if path.stem == "medglip-tiny")
    config = TrainingConfig.load(recipe)

    assert config.rows % 16 == config.columns % 16 == 0
    assert config.model.name == "medglip-tiny"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("steps = 3\nstep = 4", "step"),
        ("[model]\ncolour = 1", "colour"),
        ("[loss_weights]\nbeauty = 1.0", "beauty"),
        ("[[stages]]\nsteps = 1\nmood = 1", "mood"),
        ("[[stages]]\nsteps = 1\nlosses = ['beauty']", "beauty"),
        ("[[stages]]\nsteps = 1\n[stages.sources]\nmoon = 1.0", "moon"),
        ("[[stages]]\nname = 'endless'", "steps"),
        ("rows = 100", "16"),
        ("sources = []", "source"),
        ("[model]\nsize = 'huge'", "huge"),
    ],
)
def test_an_impossible_setting_is_named(tmp_path, text, name):
    (tmp_path / "run.toml").write_text(text)

    with pytest.raises(ConfigError, match=name):
        TrainingConfig.load(tmp_path / "run.toml")


def test_a_run_without_stages_trains_everything_and_then_the_core():
    config = TrainingConfig(steps=5, core_steps=2, warmup=3)

    assert [stage.steps for stage in config.plan] == [5, 2]
    assert config.total_steps == 7
    assert config.plan[0].train == ()
    assert config.plan[1].train == ("core",)
    assert config.stage_at(4) == (config.plan[0], 4)
    assert config.stage_at(5) == (config.plan[1], 0)


def test_single_settings_are_changed_from_the_command_line(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        "steps = 3\n[[stages]]\nsteps = 1\n[[sources]]\nname = 'toy'\nweight = 2.0\n"
    )

    config = TrainingConfig.load(
        path,
        [
            "seed=7",
            "note=said aloud",
            "stages.0.train=['core']",
            "sources.0.options.size=3",
            "loss_weights.taco=0.05",
            "model.core_layers=1",
        ],
    )

    assert config.seed == 7
    assert config.note == "said aloud"
    assert config.stages == (StageConfig(steps=1, train=("core",)),)
    assert config.sources == (SourceConfig("toy", 2.0, options={"size": 3}),)
    assert config.loss_weights["taco"] == 0.05
    assert config.loss_weights["dense"] == 1.0
    assert config.model.core_layers == 1


@pytest.mark.parametrize("change", ["steps", "=3", "stages.4.steps=1", "steps.deep=1"])
def test_a_change_that_names_nothing_is_refused(tmp_path, change):
    path = tmp_path / "run.toml"
    path.write_text("steps = 3\n[[stages]]\nsteps = 1\n")

    with pytest.raises(ConfigError):
        TrainingConfig.load(path, [change])
