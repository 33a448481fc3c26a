from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest

from dicom_node.workflows import watching
from dicom_node.workflows.registered import _ringing
from dicom_node.workflows.watching import IDLE_S, Pause


class Waits:
    """Stands for the event behind a pause: notes for how long it is waited for."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []
        self.is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(0.0 if self.is_set else timeout)
        return self.is_set

    def set(self) -> None:
        self.is_set = True

    def clear(self) -> None:
        self.is_set = False


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


def make_pause(now: list[float]) -> tuple[Pause, Waits]:
    pause = Pause(lambda: now[0])
    waits = Waits()
    pause._has_rung = waits  # type: ignore[assignment]
    return pause, waits


def test_a_queue_is_left_alone_when_nothing_happens(now: list[float]) -> None:
    pause, waits = make_pause(now)

    for _ in range(4):
        assert pause.wait(0.2) is False
        now[0] += 1.0

    assert waits.asked == [0.2, 0.2, 0.2, IDLE_S]


def test_what_is_queued_ends_the_wait_and_keeps_the_next_ones_short(
    now: list[float],
) -> None:
    pause, waits = make_pause(now)
    now[0] += 60.0

    pause.wait(0.2)
    pause.ring()
    pause.wait(0.2)
    pause.wait(0.2)

    assert waits.asked == [IDLE_S, 0.0, 0.2]


@pytest.mark.parametrize(
    ("due_in_s", "waits_s"), [(None, IDLE_S), (3600.0, IDLE_S), (4.0, 4.0), (0.0, 0.2)]
)
def test_what_is_due_is_not_waited_past(
    now: list[float], due_in_s: float | None, waits_s: float
) -> None:
    pause = Pause(lambda: now[0], due_in_s=lambda: due_in_s)
    waits = pause._has_rung = Waits()  # type: ignore[assignment]
    now[0] += 60.0

    pause.wait(0.2)
    pause.wait(0.0)

    assert waits.asked == [waits_s]


@pytest.mark.parametrize("error", [None, ValueError("it fails")])
def test_work_that_ends_rings(
    monkeypatch: pytest.MonkeyPatch, now: list[float], error: Exception | None
) -> None:
    pause, waits = make_pause(now)
    monkeypatch.setattr(watching, "_pauses", [pause])

    def work(number: int) -> None:
        if error is not None:
            raise error

    with nullcontext() if error is None else pytest.raises(ValueError, match="fails"):
        _ringing(work)(1)

    assert waits.is_set


def test_a_ring_ends_a_wait_that_has_begun() -> None:
    pause = Pause(lambda: 0.0)
    pause._alert_until = -1.0
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(pause.wait(0.2)))
    thread.start()

    pause.ring()
    thread.join(IDLE_S / 2)

    assert ended == [False]


def test_the_end_ends_every_wait() -> None:
    pause = Pause()

    pause.set()

    assert pause.wait(0.2) is True
    assert pause.wait(None) is True


def test_everybody_who_looks_at_a_queue_hears_the_ring(
    monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    pauses = [make_pause(now) for _ in range(2)]
    monkeypatch.setattr(watching, "_pauses", [one for one, _ in pauses])

    watching.ring()

    assert [waits.is_set for _, waits in pauses] == [True, True]
