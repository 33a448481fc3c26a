"""DCMTK's storescp and Orthanc under the same hostile peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from tests.builders.network import loopback_network
from tests.builders.orthanc import ORTHANC, run_orthanc
from tests.builders.process import Program, free_port
from tests.builders.storescp import STORESCP
from tests.torture.bystander import echo
from tests.torture.outcome import Figure, Tell, seen
from tests.torture.resources import Resources, sample, sample_children
from tests.torture.settling import MEBIBYTE

__all__ = ["measure_anchors"]

_Attack: TypeAlias = Callable[[int, str], Sequence[Figure]]
"""Attacks a port of an AE of that title, and returns what it saw."""

_CUT_SHORT = (
    "yes; a connection of the attack was refused, cut or not answered; it ended there"
)
"""What is known when the attack met an error of the socket, of whatever kind."""


def measure_anchors(
    work: Path, attack: _Attack, *, tell: Tell
) -> Mapping[str, tuple[Figure, ...]]:
    """Run an attack on a port of each; return whether it lives and what it holds."""
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, tuple[Figure, ...]] = {}
    if STORESCP.exists():
        tell("storescp --fork")
        port = free_port()
        command = [STORESCP, "--fork", "--bit-preserving", "--promiscuous"]
        command += ["--accept-all", "--output-directory", work, str(port)]
        with Program(command, log_path=work / "storescp.log") as program:
            program.wait_for_port(port)
            found["storescp --fork"] = _measure(
                program.process.pid, port, attack, called="STORESCP"
            )
    if ORTHANC.exists():
        tell("Orthanc")
        with (
            loopback_network(),
            run_orthanc(work / "orthanc", ae_title="GROUNDING") as orthanc,
        ):
            pid = _find(work / "orthanc" / "orthanc.json")
            found["Orthanc"] = _measure(
                pid, orthanc.dicom_port, attack, called="GROUNDING"
            )
    return found


def _measure(
    pid: int, port: int, attack: _Attack, *, called: str
) -> tuple[Figure, ...]:
    def hold() -> Resources:
        return sample(pid) + sample_children(pid)

    base = hold()
    figures: Sequence[Figure] = ()
    try:
        figures = attack(port, called)
        is_whole = True
    except OSError:  # Orthanc reads one request for an association after the other.
        is_whole = False
    time.sleep(2.0)
    try:
        grown = (hold().rss_bytes - base.rss_bytes) / MEBIBYTE
    except ProcessLookupError:
        return (seen("alive", "no"),)
    began = time.monotonic()
    try:
        echo(port, called=called)
        answer: float | str = round(time.monotonic() - began, 2)
    except (OSError, AssertionError):
        answer = "none"
    return (
        seen("alive", "yes" if is_whole else _CUT_SHORT),
        *figures,
        seen("memory grown", round(grown, 1), "MiB"),
        seen("C-ECHO afterwards", answer, "s"),
    )


def _find(argument: Path) -> int:
    """Return the process that was started with an argument."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(argument).encode() in words:
                return int(folder.name)
    msg = f"nothing runs with {argument}"
    raise ProcessLookupError(msg)
