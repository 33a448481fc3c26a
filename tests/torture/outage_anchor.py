"""Orthanc, told to send to a destination that is away and returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.builders.archive import Archive
from tests.builders.network import loopback_network
from tests.builders.orthanc import run_orthanc
from tests.torture.load import make_sample
from tests.torture.outcome import Figure, Tell, seen

__all__ = ["outlast_with_orthanc"]

_GIVES_UP_S = 60.0
"""How long the job is watched while nobody answers."""
_RETURN_S = 60.0
"""How long arrivals are waited for, after the return and after a person's act."""
_ENDED = {"Failure", "Success"}


def outlast_with_orthanc(
    work: Path, *, studies: int, tell: Tell
) -> tuple[str, tuple[Figure, ...]]:
    """Return its name, and what reached a destination that was away.

    Its job is made while the destination is away, asynchronously, as its own rules
    for received studies do.

    Parameters
    ----------
    work : pathlib.Path
        New.
    studies : int
        How many are sent, of one image each.
    tell : callable
        Told how far it is.

    """
    work.mkdir(parents=True)
    samples = [
        make_sample(work, f"1.2.826.0.1.15.{number + 1}", number=0, size=64)
        for number in range(studies)
    ]
    with loopback_network():
        away = Archive("away")
        place = away.destination.peer
        known = {"away": (place.ae_title, place.host, place.port)}
        with run_orthanc(work / "orthanc", modalities=known) as orthanc:
            name = f"Orthanc {orthanc.get('/system')['Version']}"
            for one in samples:
                orthanc.store(one.path)
            body = {"Resources": orthanc.get("/instances"), "Synchronous": False}
            job = orthanc.post("/modalities/away/store", body)["ID"]

            def state() -> str:
                return str(orthanc.get(f"/jobs/{job}")["State"])

            began = time.monotonic()
            _wait(lambda: state() in _ENDED, _GIVES_UP_S)
            took_s, ended = time.monotonic() - began, state()
            tell(f"{name}: {ended} after {took_s:.1f} s")
            with away:
                alone = _arrived(away, studies)
                if alone < studies:
                    orthanc.post(f"/jobs/{job}/resubmit", {})
                by_hand = _arrived(away, studies)
    return name, (
        seen("results", studies),
        seen("state of its job while the destination is away", ended),
        seen("that state after", round(took_s, 1), "s"),
        seen(
            f"lost by the outage, {_RETURN_S:.0f} s after the return", studies - alone
        ),
        seen("of these lost when a person starts the job again", studies - by_hand),
    )


def _arrived(away: Archive, count: int) -> int:
    _wait(lambda: len(set(away.uids)) >= count, _RETURN_S)
    return len(set(away.uids))


def _wait(is_true: Callable[[], bool], limit_s: float) -> None:
    """Wait until something is so, or for as long as it may take."""
    deadline = time.monotonic() + limit_s
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.1)
