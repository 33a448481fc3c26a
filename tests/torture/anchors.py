"""Other systems under the same crashes: DCMTK storescp and Orthanc, from Debian."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Protocol

import pydicom

from dicom_node.config import DicomPeer
from tests.builders.network import loopback_network
from tests.builders.orthanc import ORTHANC, Orthanc
from tests.builders.process import free_port, wait_for_port
from tests.builders.storescp import STORESCP
from tests.torture.load import KEPT, Acknowledged, Load, Senders
from tests.torture.outcome import Figure, Tell, seen

__all__ = [
    "Anchor",
    "OrthancAnchor",
    "StoreScpAnchor",
    "judge",
    "kill_orthanc",
    "kill_storescp",
]


class Anchor(Protocol):
    """A Storage SCP that is started, killed, and asked what it has."""

    name: str
    peer: DicomPeer

    def start(self) -> None:
        """Start it; it listens when this returns."""

    def kill(self) -> None:
        """Kill all of its processes."""

    def contents(self) -> tuple[Mapping[str, str], int]:
        """Return SHA-256 of `KEPT` by SOP Instance UID, and how many orphans lie there.

        An orphan is a file that is not whole, or that the system knows nothing of.
        """


class _Killed:
    """A program and its children, in a process group of their own."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self, command: list[str]) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        wait_for_port(self._port, timeout_s=60, what=lambda: command[0])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class StoreScpAnchor:
    """``storescp --fork``, one file for each instance."""

    def __init__(self, folder: Path, *, storage: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"storescp {_version([str(STORESCP), '--version'])}"
        self.peer = DicomPeer(
            name="storescp", ae_title="STORESCP", host="127.0.0.1", port=free_port()
        )
        self._storage = storage
        self._killed = _Killed(folder, self.peer.port)

    def start(self) -> None:
        self._storage.mkdir(exist_ok=True)
        command = [str(STORESCP), "--fork", "--bit-preserving", "--promiscuous"]
        command += ["--accept-all", "--output-directory", str(self._storage)]
        self._killed.spawn([*command, str(self.peer.port)])

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        return self._killed.pid

    def kill(self) -> None:
        self._killed.kill()

    def contents(self) -> tuple[Mapping[str, str], int]:
        found, orphans = {}, 0
        for path in self._storage.iterdir():
            told = _kept(path.read_bytes())
            if told is None:
                orphans += 1
            else:
                found[told[0]] = told[1]
        return found, orphans


class OrthancAnchor:
    """Orthanc with its own SQLite index; within `loopback_network` only."""

    def __init__(self, folder: Path, *, storage: Path, overwrites: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"Orthanc {_version([str(ORTHANC), '--version'])}"
        self.peer = DicomPeer(
            name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=4242
        )
        self._storage = storage
        self._http = Orthanc(dicom_port=4242, http_port=8052, ae_title="ORTHANC")
        self._killed = _Killed(folder, self.peer.port)
        self._settings = folder / "orthanc.json"
        self._settings.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(storage),
                    "IndexDirectory": str(storage),
                    "HttpPort": self._http.http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomAet": "ORTHANC",
                    "DicomPort": self.peer.port,
                    "DicomAlwaysAllowStore": True,
                    "OverwriteInstances": overwrites,
                }
            )
        )

    def start(self) -> None:
        self._killed.spawn([str(ORTHANC), str(self._settings)])

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        return self._killed.pid

    def kill(self) -> None:
        self._killed.kill()

    def contents(self) -> tuple[Mapping[str, str], int]:
        self.start()
        wait_for_port(self._http.http_port, timeout_s=60, what=lambda: self.name)
        found = {}
        for identifier in self._http.get("/instances"):
            with suppress(OSError):  # its file is gone: Orthanc says 404 or 500
                told = _kept(self._http.file(identifier))
                if told is not None:
                    found[told[0]] = told[1]
        self.kill()
        with closing(sqlite3.connect(self._storage / "index")) as index:
            known = {row[0] for row in index.execute("SELECT uuid FROM AttachedFiles")}
        files = {path.name for path in self._storage.glob("??/??/*")}
        return found, len(files - known)


def kill_storescp(
    work: Path, *, load: Load, kills: int, seed: int, tell: Tell
) -> tuple[str, tuple[Figure, ...]]:
    """Kill storescp at random moments; return its name and what came of it."""
    anchor = StoreScpAnchor(work, storage=work / "storage")
    return _kill_at_random(anchor, work, load=load, kills=kills, seed=seed, tell=tell)


def kill_orthanc(
    work: Path, *, load: Load, kills: int, seed: int, tell: Tell
) -> tuple[str, tuple[Figure, ...]]:
    """Kill Orthanc at random moments; return its name and what came of it."""
    with loopback_network():
        return _kill_at_random(
            OrthancAnchor(work, storage=work / "storage"),
            work,
            load=load,
            kills=kills,
            seed=seed,
            tell=tell,
        )


def judge(anchor: Anchor, acknowledged: Acknowledged) -> tuple[Figure, ...]:
    """Return what an anchor lost and left; it does not run."""
    found, orphans = anchor.contents()
    samples = acknowledged.samples()
    lost = sum(found.get(one.uid) != one.kept for one in samples)
    return (
        seen("acknowledged instances", len(samples)),
        seen("acknowledged and lost, or other bytes", lost),
        seen("orphaned files", orphans),
    )


def _kill_at_random(
    anchor: Anchor, work: Path, *, load: Load, kills: int, seed: int, tell: Tell
) -> tuple[str, tuple[Figure, ...]]:
    draw = random.Random(seed)
    with ExitStack() as stack:
        stack.callback(anchor.kill)
        senders = stack.enter_context(
            Senders(work / "sent", anchor.peer, load=load, seed=seed)
        )
        for _ in range(kills):
            anchor.start()
            time.sleep(draw.uniform(0.05, 1.0))
            anchor.kill()
        anchor.start()
        senders.finish()
        anchor.kill()
        tell(f"{anchor.name}: {kills} kills")
        return anchor.name, (
            seen("random kills", kills),
            *judge(anchor, senders.acknowledged),
        )


def _kept(data: bytes) -> tuple[str, str] | None:
    """Return UID and hash of `KEPT` of a whole file; None: it is not whole."""
    try:
        ds = pydicom.dcmread(io.BytesIO(data))
        value = ds[KEPT].value
        uid = str(ds.SOPInstanceUID)
    except Exception:  # noqa: BLE001 - whatever the reader says of half a file
        return None
    return uid, hashlib.sha256(value).hexdigest()


def _version(command: list[str]) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    words = (told.stdout + told.stderr).replace("$", " ").split()
    numbers = [word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit()]
    return numbers[0] if numbers else ""
