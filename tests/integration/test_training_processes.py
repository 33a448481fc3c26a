"""Training in real processes: killed and continued, shared by two, sharded by two."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.builders import fit_process
from tests.builders.fit_process import HALVES, join_batches, make_toy, take_steps
from training.fit.trainer import Trainer

SCRIPT = str(Path(fit_process.__file__))
ROOT = str(Path(__file__).parents[2])
RECIPE = """
rows = 48
columns = 48
batch = 2
steps = 14
core_every = 2
core_phrases = 4
save_every = 5
log_every = 1
warmup = 2
workers = 0
device = "cpu"
[[sources]]
name = "toy"
[sources.options]
words = true
families = true
[model]
slice_offsets_mm = [0.0]
trunk_channels = [8, 16, 16, 16, 16]
bottleneck_heads = 2
phrase_dim = 32
dense_dim = 16
core_dim = 32
core_heads = 2
core_ffn = 64
core_queries = 6
core_mask_dim = 8
"""


def start(*arguments: str, processes: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, SCRIPT, *arguments],
        cwd=ROOT,
        env={
            "PYTHONPATH": ROOT,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PATH": "/usr/bin:/bin",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said.decode()[-3000:]


def curve(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    values = [json.loads(line) for line in lines]
    for value in values:
        del value["seconds"]
    return values


def steps_of(out: Path) -> int:
    path = out / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_continues_with_the_same_losses_to_the_bit(tmp_path):
    recipe = tmp_path / "run.toml"
    recipe.write_text(RECIPE)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start("fit", str(recipe), "--out", str(whole)))

    victim = start("fit", str(recipe), "--out", str(broken))
    end = time.monotonic() + 400
    while steps_of(broken) < 7 and time.monotonic() < end:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    assert 7 <= steps_of(broken) < 14
    finish(start("fit", str(recipe), "--out", str(broken), "--resume"))

    assert curve(broken) == curve(whole)
    assert [line["step"] for line in curve(whole)] == list(range(1, 15))
    one, other = (load_file(out / "model.safetensors") for out in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["copied", "sharded"])
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(tmp_path, mode):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stream = make_toy()
    batches = [join_batches(next(stream), next(stream)) for _ in range(HALVES.steps)]
    alone = Trainer(HALVES)
    expected = take_steps(alone, batches)
    torch.set_num_threads(threads)

    extra = ["fsdp"] if mode == "sharded" else []
    finish(start("halves", str(tmp_path), *extra, processes=2))

    both = torch.load(tmp_path / "losses.pt", weights_only=True)
    for step, wanted in enumerate(expected):
        for name, value in wanted.items():
            mean = (both[0][step][name] + both[1][step][name]) / 2
            assert mean == pytest.approx(value, rel=1e-4, abs=1e-5), (step, name)
    saved = load_file(tmp_path / "model.safetensors")
    average = alone.average.state_dict()
    start_from = dict(Trainer(HALVES).model.named_parameters())
    for name, value in saved.items():
        # Adam takes full steps along the rounding errors of biases that the next
        # layer cancels; matrices have true gradients.
        if value.dim() > 1:
            moved = (average[name] - start_from[name]).abs().mean()
            gap = (value - average[name]).abs().mean()
            assert float(gap.detach()) <= 0.02 * float(moved.detach()) + 1e-6, name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_two_processes_writes_one_record_and_continues(tmp_path):
    recipe, out = tmp_path / "run.toml", tmp_path / "out"
    recipe.write_text(RECIPE)
    command = ["fit", str(recipe), "--out", str(out), "--set", "save_every=2"]
    finish(start(*command, "--set", "steps=2", processes=2))

    finish(start(*command, "--set", "steps=3", "--resume", processes=2))

    assert [line["step"] for line in curve(out)] == [1, 2, 3]
    state = torch.load(out / "state.pt", weights_only=True)
    taken = [own["stream"]["streams"]["toy"]["batches"] for own in state["others"]]
    assert taken == [3, 3]
