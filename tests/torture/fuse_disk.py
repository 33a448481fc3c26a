"""The file system of `PowerDisk`: what the kernel asks, answered from a `Tree`.

SQLite's ``-shm`` is mapped into memory as on any disk: it lives in the page cache,
which the kernel writes back when it likes; nothing in it has to survive.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

from fuse import FUSE, FuseOSError, Operations

from tests.torture.durable_tree import File, Folder, Tree, Variant

__all__: list[str] = []

_BLOCK = 4096


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
