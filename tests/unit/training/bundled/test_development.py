from __future__ import annotations

import numpy as np
import pytest

from tests.builders.toy_volume import make_volume
from training.bundled.development import choose_weight, development_stacks


def test_a_clear_gain_is_taken():
    rng = np.random.default_rng(0)
    alone = rng.uniform(0.4, 0.6, 50)

    overlaps = {0.0: list(alone), 0.4: list(alone + 0.1 + rng.normal(0, 0.02, 50))}

    assert choose_weight(overlaps) == 0.4


@pytest.mark.parametrize("gain", [0.0, 0.001, -0.2])
def test_a_doubtful_gain_is_not(gain):
    rng = np.random.default_rng(0)
    alone = rng.uniform(0.4, 0.6, 50)

    noise = rng.normal(0, 0.05, 50)
    overlaps = {0.0: list(alone), 0.4: list(alone + gain + noise - noise.mean())}

    assert choose_weight(overlaps) == 0.0


def test_development_stacks_repeat_and_differ_from_each_other():
    volumes = (make_volume(), make_volume(seed=1), make_volume(seed=2))

    first = list(development_stacks(volumes, count=3, slices=4))
    again = list(development_stacks(volumes, count=3, slices=4))

    assert [len(s.labels) for s in first] == [12, 4, 4]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.stack.pixels, other.stack.pixels)
    assert not np.array_equal(first[1].stack.pixels, first[2].stack.pixels)
