from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from tests.builders.fit_process import HALVES, make_toy
from training.fit.stock import StockTrainer
from training.fit.throughput import measure_throughput


def test_the_stock_model_takes_a_step_on_our_batches():
    stock = StockTrainer(HALVES, device=torch.device("cpu"))
    before = [p.detach().clone() for p in stock.network.parameters()]

    loss = stock.learn(next(make_toy()))

    assert torch.isfinite(loss)
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, stock.network.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_are_timed_on_the_same_batches_and_the_ratio_is_theirs():
    config = replace(HALVES, core_every=1)

    found = measure_throughput(config, rounds=2, steps=1)

    found = json.loads(json.dumps(found))
    (way,) = found["ways"]
    speed = way["pictures_per_second"]
    assert set(speed) == {"ours", "ours, boxes alone", "stock"}
    assert min(speed.values()) > 0
    for name, ratio in way["ratio_to_stock"].items():
        assert ratio == pytest.approx(speed[name] / speed["stock"])
        assert len(way["ratio_per_round"][name]) == 2
    assert way["parity"] == {"mask_logits": 0.0, "presence_logits": 0.0}
    assert min(way["parameters"].values()) > 10_000
