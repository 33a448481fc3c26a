"""Files as a disk keeps them: what was synced is apart from what is only in memory.

The rules are those of POSIX, stricter than most file systems: fsync of a file makes
its bytes durable and not its name; fsync of a folder makes the names in it durable. A
rename is atomic, as every file system with a journal makes it: it is durable when
either folder is synced.
"""

from __future__ import annotations

import itertools
import random
import stat
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Dropped", "File", "Folder", "Node", "Tree", "Variant"]

_SECTOR = 512
"""What a disk writes whole or not at all."""


class Variant(StrEnum):
    """What becomes of what was not synced when the power goes."""

    ALL = "all"
    """It is gone."""
    PREFIX = "prefix"
    """What was done up to some moment is there; the write at that moment is torn."""
    SUBSET = "subset"
    """Names up to some moment, and of the writes any sectors, in no order."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """How much a cut took: writes, in whole or part, and changes of names."""

    writes: int
    names: int


@dataclass(eq=False)
class _Inode:
    mode: int
    mtime_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True, slots=True)
class _Write:
    """Bytes at an offset; None: the file gets this length."""

    number: int
    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(eq=False)
class File(_Inode):
    """Bytes; ``durable`` is None while they are the same on the disk."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytearray | None = None
    writes: list[_Write] = field(default_factory=list)


@dataclass(eq=False)
class _Change:
    """Names that change together; None: the name goes away."""

    number: int
    entries: tuple[tuple[Folder, str, Node | None], ...]
    is_durable: bool = False


@dataclass(eq=False)
class Folder(_Inode):
    """Names; ``durable`` are those on the disk."""

    live: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    changes: list[_Change] = field(default_factory=list)


Node: TypeAlias = File | Folder


class Tree:
    """A file system; paths are absolute and errors are those of a dictionary."""

    def __init__(self) -> None:
        self.root = Folder(stat.S_IFDIR | 0o700)
        self._numbers = itertools.count(1)
        self._unsynced: set[Node] = set()

    def find(self, path: str) -> Node:
        """Return what has a path.

        Raises
        ------
        KeyError
            Nothing has.

        """
        node: Node = self.root
        for name in filter(None, path.split("/")):
            if not isinstance(node, Folder):
                raise KeyError(path)
            node = node.live[name]
        return node

    def add(self, path: str, node: Node) -> None:
        """Give a path to something new."""
        folder, name = self._place(path)
        self._change((folder, name, node))

    def remove(self, path: str) -> None:
        """Take a path away."""
        folder, name = self._place(path)
        self._change((folder, name, None))

    def rename(self, old: str, new: str) -> None:
        """Give another path to what has one, in one step."""
        (source, before), (target, after) = self._place(old), self._place(new)
        node = source.live[before]
        self._change((source, before, None), (target, after, node))

    def write(self, file: File, offset: int, *, data: bytes) -> None:
        """Write bytes."""
        self._write(file, _Write(next(self._numbers), offset, data))

    def truncate(self, file: File, length: int) -> None:
        """Give a file this length."""
        self._write(file, _Write(next(self._numbers), length, None))

    def sync(self, node: Node) -> None:
        """Make a file's bytes, or a folder's names, durable."""
        if isinstance(node, File):
            node.durable = None
            node.writes.clear()
        else:
            while node.changes:
                self._commit(node.changes[0])
        self._unsynced.discard(node)

    def cut(self, variant: Variant, *, seed: int) -> Dropped:
        """Go back to what is on the disk, as the power does."""
        draw = random.Random(seed)
        files = [node for node in self._unsynced if isinstance(node, File)]
        changes = sorted(
            {
                change
                for node in self._unsynced
                if isinstance(node, Folder)
                for change in node.changes
            },
            key=lambda change: change.number,
        )
        numbers = [one.number for file in files for one in file.writes]
        numbers += [change.number for change in changes]
        first, last = min(numbers, default=0), max(numbers, default=0)
        until = first - 1 if variant is Variant.ALL else draw.randint(first, last)
        kept = [change for change in changes if change.number <= until]
        for change in kept:
            self._commit(change)
        dropped = 0
        # By their first write, since a set has no order that a seed repeats.
        for file in sorted(files, key=lambda one: one.writes[0].number):
            dropped += _settle(file, variant, until=until, draw=draw)
        self._unsynced.clear()
        _forget(self.root)
        return Dropped(dropped, len(changes) - len(kept))

    def _place(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self.find(parent)
        if not isinstance(folder, Folder):
            raise KeyError(path)
        return folder, name

    def _change(self, *entries: tuple[Folder, str, Node | None]) -> None:
        change = _Change(next(self._numbers), entries)
        for folder, name, node in entries:
            if node is None:
                del folder.live[name]
            else:
                folder.live[name] = node
            folder.changes.append(change)
            folder.mtime_ns = time.time_ns()
            self._unsynced.add(folder)

    def _commit(self, change: _Change) -> None:
        """Make a change durable, and what came before it in its folders."""
        if change.is_durable:
            return
        change.is_durable = True
        for folder, _name, _node in change.entries:
            while folder.changes and folder.changes[0] is not change:
                earlier = folder.changes[0]
                self._commit(earlier)
                if folder.changes and folder.changes[0] is earlier:
                    del folder.changes[0]
        for folder, name, node in change.entries:
            if folder.changes and folder.changes[0] is change:
                del folder.changes[0]
            if node is None:
                folder.durable.pop(name, None)
            else:
                folder.durable[name] = node

    def _write(self, file: File, write: _Write) -> None:
        if file.durable is None:
            file.durable = bytearray(file.live)
        file.writes.append(write)
        write.apply(file.live)
        file.mtime_ns = time.time_ns()
        self._unsynced.add(file)


def _settle(file: File, variant: Variant, *, until: int, draw: random.Random) -> int:
    """Leave of a file what the disk has; return how many writes it has not whole."""
    assert file.durable is not None
    dropped = 0
    for one in file.writes:
        if variant is Variant.SUBSET:
            dropped += _tear(file.durable, one, draw)
        elif one.number < until:
            one.apply(file.durable)
        elif one.number == until:
            dropped += _tear(file.durable, one, draw, is_prefix=True)
        else:
            dropped += 1
    file.writes.clear()
    file.live, file.durable = file.durable, None
    return dropped


def _tear(
    content: bytearray, write: _Write, draw: random.Random, *, is_prefix: bool = False
) -> bool:
    """Let some sectors of a write reach the disk; return whether one did not."""
    if write.data is None:
        write.apply(content)
        return False
    # Sectors lie where the file has them, not where the write begins.
    first = write.offset // _SECTOR
    last = (write.offset + len(write.data) - 1) // _SECTOR
    kept = [draw.random() < 0.5 for _ in range(first, last + 1)]
    if is_prefix:
        kept.sort(reverse=True)
    for sector in itertools.compress(range(first, last + 1), kept):
        begin = max(write.offset, sector * _SECTOR)
        end = min(write.offset + len(write.data), (sector + 1) * _SECTOR)
        part = write.data[begin - write.offset : end - write.offset]
        _Write(write.number, begin, part).apply(content)
    return not all(kept)


def _forget(folder: Folder) -> None:
    """Make what is on the disk what there is."""
    folder.live = dict(folder.durable)
    folder.changes.clear()
    for node in folder.live.values():
        if isinstance(node, Folder):
            _forget(node)
