"""The soak falls short when memory, threads or descriptors grow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dicom_node.config import DicomPeer
from tests.builders.process import Program, free_port
from tests.torture.load import Load, Senders
from tests.torture.outcome import Scale
from tests.torture.resources import Resources
from tests.torture.row_14_soak import Moment, complaints, growth, watch


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


def _senders(folder: Path) -> Senders:
    """Return two senders to nobody."""
    peer = DicomPeer(name="x", ae_title="X", host="127.0.0.1", port=free_port())
    return Senders(folder, peer, load=Load(2, 1, ((64, 1.0),)), seed=1)


def test_a_node_that_dies_ends_the_soak_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('out of everything')"]
    with Program(command, log_path=tmp_path / "node.log") as program:
        program.process.wait(60)

        with pytest.raises(AssertionError, match="out of everything"):
            watch(
                program, _senders(tmp_path / "sent"), seconds=60, every_s=1, tell=print
            )


def test_senders_that_get_nowhere_are_counted_after_one_wait(tmp_path: Path) -> None:
    with _senders(tmp_path / "sent") as senders:
        assert senders.finish(0.5) == 2


def test_refusals_and_lines_that_are_no_event_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    log.write_text(
        '{"event": "instance_received"}\n{"event": "instance_refused"}\n'
        "Traceback (most recent call last):\n"
    )

    assert complaints(log) == (1, 1)
