"""A disk whose power can be cut: a FUSE file system over a `Tree`, in its own process.

SQLite's ``-shm`` is mapped into memory as on any disk: it lives in the page cache,
which the kernel writes back when it likes; nothing in it has to survive.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fuse import FUSE, FuseOSError, Operations

from tests.builders.process import wait_until
from tests.torture.durable_tree import Dropped, File, Folder, Tree, Variant

__all__ = ["PowerDisk"]

_BLOCK = 4096


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
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log_path = log_path

    def __enter__(self) -> Self:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.power_disk", str(self.folder)],
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


class _Disk(Operations):  # type: ignore[misc]  # it is not typed
    """What the kernel asks, answered from a tree."""

    use_ns = True

    def __init__(self) -> None:
        self.tree = Tree()
        self._handles = itertools.count(1)
        self._open: dict[int, File] = {}

    def __call__(self, op: str, *args: Any) -> Any:
        try:
            return super().__call__(op, *args)
        except KeyError as error:
            raise FuseOSError(errno.ENOENT) from error

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, int]:
        node = self.tree.find(path)
        size = len(node.live) if isinstance(node, File) else _BLOCK
        return {
            "st_mode": node.mode,
            "st_nlink": 1 if isinstance(node, File) else 2,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_uid": os.geteuid(),
            "st_gid": os.getegid(),
            "st_mtime": node.mtime_ns,
            "st_atime": node.mtime_ns,
            "st_ctime": node.mtime_ns,
        }

    def readdir(self, path: str, _handle: int) -> Iterator[str]:
        yield from (".", "..", *self._folder(path).live)

    def mkdir(self, path: str, mode: int) -> None:
        self.tree.add(path, Folder(stat.S_IFDIR | mode))

    def create(self, path: str, mode: int, _info: Any = None) -> int:
        file = File(stat.S_IFREG | stat.S_IMODE(mode))
        self.tree.add(path, file)
        return self._handle(file)

    def open(self, path: str, _flags: int) -> int:
        return self._handle(self._file(path))

    def release(self, _path: str, handle: int) -> None:
        del self._open[handle]

    def read(self, _path: str, size: int, offset: int, handle: int) -> bytes:
        return bytes(self._open[handle].live[offset : offset + size])

    def write(self, _path: str, data: bytes, offset: int, handle: int) -> int:
        self.tree.write(self._open[handle], offset, data=data)
        return len(data)

    def truncate(self, path: str, length: int, handle: int | None = None) -> None:
        file = self._open[handle] if handle else self._file(path)
        self.tree.truncate(file, length)

    def fsync(self, _path: str, _datasync: int, handle: int) -> None:
        self.tree.sync(self._open[handle])

    def fsyncdir(self, path: str, _datasync: int, _handle: int) -> None:
        self.tree.sync(self._folder(path))

    def unlink(self, path: str) -> None:
        self.tree.remove(path)

    def rmdir(self, path: str) -> None:
        if self._folder(path).live:
            raise FuseOSError(errno.ENOTEMPTY)
        self.tree.remove(path)

    def rename(self, old: str, new: str) -> None:
        self.tree.rename(old, new)

    def chmod(self, path: str, mode: int) -> None:
        node = self.tree.find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)

    def chown(self, _path: str, _uid: int, _gid: int) -> None:
        return

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        self.tree.find(path).mtime_ns = times[1] if times else time.time_ns()

    def statfs(self, _path: str) -> dict[str, int]:
        blocks = (64 << 30) // _BLOCK
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": blocks,
            "f_bfree": blocks,
            "f_bavail": blocks,
            "f_namemax": 255,
        }

    def _handle(self, file: File) -> int:
        handle = next(self._handles)
        self._open[handle] = file
        return handle

    def _file(self, path: str) -> File:
        node = self.tree.find(path)
        if not isinstance(node, File):
            raise FuseOSError(errno.EISDIR)
        return node

    def _folder(self, path: str) -> Folder:
        node = self.tree.find(path)
        if not isinstance(node, Folder):
            raise FuseOSError(errno.ENOTDIR)
        return node


def _serve(folder: str) -> None:
    """Mount; at each line of standard input, unmounted meanwhile, cut and mount."""
    disk = _Disk()
    while True:
        # Comes back when it is unmounted.
        FUSE(
            disk,
            folder,
            foreground=True,
            nothreads=True,
            big_writes=True,
            kernel_cache=True,
            fsname="power-disk",
        )
        line = sys.stdin.readline().split()
        if not line:
            return
        dropped = disk.tree.cut(Variant(line[0]), seed=int(line[1]))
        print(
            json.dumps({"writes": dropped.writes, "names": dropped.names}), flush=True
        )


if __name__ == "__main__":
    _serve(sys.argv[1])
