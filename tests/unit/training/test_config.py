from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from training.config import TrainingConfig


def recipe() -> Path:
    source = resources.files("training") / "configs" / "medglip-tiny-ct.toml"
    return Path(str(source))


def test_settings_come_back_from_the_folder_of_a_checkpoint(tmp_path):
    config = TrainingConfig.load(recipe())

    config.save(tmp_path)

    assert TrainingConfig.load_beside(tmp_path) == config


def test_the_shipped_recipe_fits_the_network():
    config = TrainingConfig.load(recipe())

    assert config.rows % 16 == config.columns % 16 == 0
    assert config.model.name == "medglip-tiny-ct"


def test_an_unknown_setting_is_named(tmp_path):
    (tmp_path / "run.toml").write_text("steps = 3\nstep = 4\n")

    with pytest.raises(ValueError, match="step"):
        TrainingConfig.load(tmp_path / "run.toml")
