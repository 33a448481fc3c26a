from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.backoff import delivery_delay_s


def test_the_delay_doubles_from_five_seconds_to_five_minutes() -> None:
    delays = [delivery_delay_s(attempts) for attempts in range(10)]

    assert delays == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]


@given(attempts=st.integers(0, 10**6), seed=st.integers())
def test_no_draw_makes_a_delay_shorter_than_four_fifths_or_longer_than_the_last(
    attempts: int, seed: int
) -> None:
    plain = delivery_delay_s(attempts)

    drawn = delivery_delay_s(attempts, random.Random(seed).uniform)

    assert 0.8 * plain <= drawn <= min(300, 1.2 * plain)
