"""The soak falls short when memory, threads or descriptors grow."""

from __future__ import annotations

import pytest

from tests.torture.outcome import Scale
from tests.torture.resources import Resources
from tests.torture.row_14_soak import Moment, growth


def _moments(*, rss: int = 0, threads: int = 0, descriptors: int = 0) -> list[Moment]:
    """Return a curve over 20,000 instances that rises by so much in all."""
    return [
        Moment(
            float(at),
            at * 1000,
            Resources(
                (150 << 20) + rss * at // 20,
                20 + threads * at // 20,
                30 + descriptors * at // 20,
            ),
        )
        for at in range(21)
    ]


def test_what_stays_as_it_is_holds() -> None:
    assert all(one.holds is not False for one in growth(_moments(), Scale.FULL))
    assert all(one.holds is not False for one in growth(_moments(), Scale.SHORT))


@pytest.mark.parametrize(
    ("grown", "name"),
    [
        ({"rss": 4 << 20}, "memory for each 10,000 instances"),
        ({"threads": 20}, "threads for each 10,000 instances"),
        ({"descriptors": 20}, "descriptors for each 10,000 instances"),
    ],
)
def test_what_grows_slowly_falls_short_over_minutes(
    grown: dict[str, int], name: str
) -> None:
    figures = growth(_moments(**grown), Scale.FULL)

    assert [one.name for one in figures if one.holds is False] == [name]


@pytest.mark.parametrize(
    ("grown", "name"),
    [
        ({"rss": 30 << 20}, "memory more than after the warm-up"),
        ({"threads": 40}, "threads more"),
        ({"descriptors": 60}, "descriptors more"),
    ],
)
def test_what_runs_away_falls_short_over_seconds(
    grown: dict[str, int], name: str
) -> None:
    figures = growth(_moments(**grown), Scale.SHORT)

    assert [one.name for one in figures if one.holds is False] == [name]
