from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.medglip import MedGLIP
from tests.builders.fit_process import HALVES
from training.config import SourceConfig, StageConfig, TrainingConfig
from training.errors import ConfigError
from training.fit.arguments import add_fit_arguments
from training.fit.loop import fit, fit_command
from training.fit.mixing import MixedStream
from training.fit.sources import build_stream
from training.fit.world import World

CONFIG = replace(
    HALVES,
    steps=2,
    core_every=0,
    log_every=1,
    save_every=2,
    loss_weights={"dense": 1.0, "presence": 0.5, "words": 0.0, "core": 0.0},
    sources=(
        SourceConfig("first", kind="toy"),
        SourceConfig("second", kind="toy", weight=0.0, options={"families": True}),
    ),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    config = replace(CONFIG, picture_every=2)
    return fit(config, build_stream(config, World()), out)


def steps_of(out: Path) -> list[int]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_run_leaves_checkpoint_record_state_and_pictures(finished):
    names = sorted(path.name for path in finished.iterdir())

    assert names == [
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "pictures",
        "state.pt",
        "training.json",
    ]
    assert steps_of(finished) == [1, 2]
    assert TrainingConfig.load_beside(finished).sources == CONFIG.sources
    assert MedGLIP.from_pretrained(finished).config == CONFIG.model
    with Image.open(finished / "pictures" / "step-000002.png") as picture:
        picture.load()
        assert len(set(picture.convert("L").tobytes())) > 50


def test_a_run_is_not_trained_over(finished):
    with pytest.raises(ConfigError, match="resume"):
        fit(CONFIG, build_stream(CONFIG, World()), finished)


def test_a_longer_plan_continues_a_finished_run(finished, tmp_path):
    for path in finished.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    longer = replace(CONFIG, steps=3)

    fit(longer, build_stream(longer, World()), tmp_path, resume=True)

    assert steps_of(tmp_path) == [1, 2, 3]


def test_a_run_starts_from_the_weights_of_a_checkpoint(finished, tmp_path):
    still = replace(
        CONFIG,
        stages=(StageConfig(steps=1, train=("dense",), learning_rate=0.0),),
        weight_decay=0.0,
    )

    fit(still, build_stream(still, World()), tmp_path / "out", init=finished)

    first = MedGLIP.from_pretrained(finished).state_dict()
    second = MedGLIP.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_no_checkpoint_cannot_be_started_from(tmp_path):
    with pytest.raises(ConfigError, match="started from"):
        fit(CONFIG, build_stream(CONFIG, World()), tmp_path / "out", init=tmp_path)


def test_stages_weigh_sources_anew(tmp_path, monkeypatch):
    seen: list[dict[str, float]] = []
    original = MixedStream.reweigh

    def spy(self, weights):
        seen.append(dict(weights))
        original(self, weights)

    config = replace(
        CONFIG,
        stages=(
            StageConfig(steps=1),
            StageConfig(steps=1, sources={"first": 0.0, "second": 1.0}),
        ),
    )
    stream = build_stream(config, World())
    monkeypatch.setattr(MixedStream, "reweigh", spy)

    fit(config, stream, tmp_path / "out")

    assert seen == [{"first": 1.0, "second": 0.0}, {"first": 0.0, "second": 1.0}]


def test_the_command_reads_settings_and_their_changes(tmp_path):
    recipe = tmp_path / "short.toml"
    recipe.write_text(
        "rows = 48\ncolumns = 48\nsteps = 9\ncore_every = 0\ndevice = 'cpu'\n"
        "workers = 0\n[[sources]]\nname = 'toy'\n"
        "[model]\ntrunk_channels = [8, 8, 8, 8, 8]\nphrase_dim = 16\n"
        "bottleneck_heads = 1\nhypotheses = 1\ncore = false\n"
    )
    parser = argparse.ArgumentParser()
    add_fit_arguments(parser)
    out = tmp_path / "out"
    options = parser.parse_args(
        [str(recipe), "--out", str(out), "--set", "steps=1", "--set", "batch=2"]
    )

    assert fit_command(options) == out

    saved = TrainingConfig.load_beside(out)
    assert (saved.steps, saved.batch) == (1, 2)
    assert not (tmp_path / "runs").exists()
