from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import StageConfig
from training.fit.schedule import rate_factor


@settings(deadline=None)
@given(
    st.integers(1, 500), st.integers(0, 100), st.integers(0, 100), st.integers(0, 900)
)
def test_the_rate_is_never_negative_nor_above_its_base(steps, warmup, cooldown, length):
    stage = StageConfig(
        steps=steps, warmup=warmup, cooldown=cooldown, schedule_steps=length
    )

    factors = [rate_factor(stage, done) for done in range(steps)]

    assert all(0 < factor <= 1 for factor in factors)


def test_a_stage_warms_up_falls_as_a_cosine_and_cools_down():
    stage = StageConfig(steps=100, warmup=10, cooldown=20)

    assert rate_factor(stage, 0) == pytest.approx(0.1)
    assert rate_factor(StageConfig(steps=100), 50) == pytest.approx(0.505)
    assert rate_factor(stage, 99) == pytest.approx(
        rate_factor(StageConfig(steps=100), 99) / 20
    )


def test_a_longer_cosine_never_reaches_its_end():
    assert rate_factor(StageConfig(steps=50, schedule_steps=100), 49) > 0.5
    assert rate_factor(StageConfig(steps=50), 49) < 0.02
