"""A disk whose power can be cut: `fuse_disk`, mounted in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.builders.peers import cannot_run
from tests.builders.process import wait_until
from tests.torture.durable_tree import Dropped, Variant

__all__ = ["PowerDisk"]


class PowerDisk:
    """A mounted disk; its power is cut while nobody has a file open on it.

    Parameters
    ----------
    folder : pathlib.Path
        Where it is mounted; made when absent.
    log_path : pathlib.Path
        Where its process's output goes.

    """

    def __init__(self, folder: Path, *, log_path: Path) -> None:
        if find_library("fuse") is None or not Path("/dev/fuse").exists():
            cannot_run("libfuse2 or /dev/fuse is not here")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log_path = log_path

    def __enter__(self) -> Self:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.fuse_disk", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                cwd=Path(__file__).parents[2],
            )
        self._wait_mounted()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Lazily when something failed: what failed may still have files open.
        self._unmount(*(["--lazy"] if kind is not None else []))
        if kind is not None:
            self._process.kill()
        self._process.communicate()

    def cut(self, variant: Variant, *, seed: int) -> Dropped:
        """Cut the power and turn it on again: mounted anew, with what was durable."""
        self._unmount()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{variant} {seed}\n")
        dropped = Dropped(**json.loads(self._process.stdout.readline()))
        self._wait_mounted()
        return dropped

    def _unmount(self, *options: str) -> None:
        def is_done() -> bool:
            told = subprocess.run(
                ["umount", *options, str(self.folder)], capture_output=True, check=False
            )
            return told.returncode == 0 or not self.folder.is_mount()

        wait_until(is_done, timeout_s=20, what="the disk's last file to be closed")

    def _wait_mounted(self) -> None:
        def is_mounted() -> bool:
            assert self._process.poll() is None, self._log_path.read_text()
            return self.folder.is_mount()

        wait_until(is_mounted, timeout_s=20, what="the disk", interval_s=0.01)
