from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.build.draws import Draws, hash_number
from training.build.settings import BuildSettings
from training.errors import ConfigError


def test_settings_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "build.toml"
    path.write_text("long_side = 512\nneighbours_mm = [-3.0, 3.0]\n")

    settings = BuildSettings.load(path)

    assert settings == BuildSettings(long_side=512, neighbours_mm=(-3.0, 3.0))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("longside = 3", "longside"),
        ("long_side = 0", "long_side"),
        ("val_percent = 99", "exceed 100"),
        ("negatives = -1", "below 0"),
        ("synonym_share = 0.9", "exceed 1"),
        ("jpeg_quality = 100", "jpeg_quality"),
        ("fuse_iou = 1.0", "shares"),
        ('long_side = "a"', "toml"),
        ("long_side =", "toml"),
    ],
)
def test_settings_that_no_build_can_follow_are_refused(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "build.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=named):
        BuildSettings.load(path)


def test_results_are_reused_where_only_later_settings_differ() -> None:
    settings = BuildSettings()

    assert settings.digest("a") == replace(settings, shard_samples=3).digest("a")
    assert settings.digest("a") != replace(settings, long_side=64).digest("a")
    assert settings.digest("a") != settings.digest("b")


def test_draws_hang_on_names_alone() -> None:
    one, other = Draws("seed", "image"), Draws("seed", "image")

    assert [one.below(1000) for _ in range(9)] == [other.below(1000) for _ in range(9)]
    assert sorted(Draws("x").shuffled(range(20))) == list(range(20))
    assert Draws("x").shuffled(range(20)) != Draws("y").shuffled(range(20))
    assert 0 <= Draws("x").share() < 1


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_number("seed", "name") == 0xADAB7E2FD4FE78F9
