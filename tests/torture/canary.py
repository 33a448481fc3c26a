"""Strings that stand for a patient and for secrets, and where they may not be found."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

__all__ = ["PATIENT", "SECRET", "Finder", "Watch", "encodings_of", "processes_of"]

PATIENT = "QZXCANARY"
"""Part of every text of the patient; a builder of worklists and archives has its own,
``ZZCANARY``."""

SECRET = "QZXSECRET"
"""Part of every token, password and key."""

ACCENTED = "Qžxkanärie"
"""In names too: it is not ASCII, so that each way to write it differs."""

_WORDS = (PATIENT, "ZZCANARY", SECRET, ACCENTED)

_LOOK_S = 0.02
"""How often processes are looked at: children live for a short time."""


def encodings_of(text: str) -> frozenset[bytes]:
    """Return how a text may be written: charsets, escapes, and base64 at each offset.

    All of it in lower case, as `Finder` compares; base64 and hexadecimal of the text
    as it is, in upper and in lower case.
    """
    found: set[bytes] = set()
    for one in {text, text.upper(), text.lower()}:
        raw = {one.encode(name) for name in ("utf-8", "utf-16-le", "utf-16-be")}
        raw.add(one.encode("latin-1", "replace"))
        raw.add(one.encode("iso8859-2", "replace"))
        found |= raw
        for data in raw:
            found.add(binascii.hexlify(data))
            found.update(_base64(data))
        found.add(json.dumps(one)[1:-1].encode())
        found.add(repr(one.encode())[2:-1].encode())
        found.add(ascii(one)[1:-1].encode())
        for written in (quote(one), quote_plus(one), escape(one)):
            found.add(written.encode())
        found.add(one.encode("ascii", "xmlcharrefreplace"))
    return frozenset(one.lower() for one in found)


def _base64(data: bytes) -> Iterator[bytes]:
    """Yield what of a base64 text is certain wherever the data begin in it."""
    for offset in range(3):
        text = base64.b64encode(bytes(offset) + data)
        # The first and last characters share bits with what is before and after.
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        yield text[first:last]
        yield text[first:last].replace(b"+", b"-").replace(b"/", b"_")


class Finder:
    """Finds the canaries in bytes, however they are written.

    Parameters
    ----------
    *more : str
        Words beside the usual ones.

    """

    def __init__(self, *more: str) -> None:
        every = frozenset().union(*map(encodings_of, (*_WORDS, *more)))
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(every))))

    def find(self, data: bytes) -> list[bytes]:
        """Return each place with a canary, with what is around it."""
        plain = data.lower()
        return [
            data[max(0, one.start() - 60) : one.end() + 40]
            for one in self._pattern.finditer(plain)
        ]


def processes_of(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from processes_of(int(child))
    except OSError:
        return


@dataclass
class Watch:
    """Looks at processes and names of files again and again while others work.

    Attributes
    ----------
    finder : Finder
        What is looked for.
    pid : int
        The node's process; its children are looked at too.
    folders : iterable of pathlib.Path
        In whose trees no name may hold a canary.
    hits : set of str
        Where one was found.
    open_modes : dict
        Files and folders below the first folder that others could read, and their mode.
    seen_pids : set of int
        Processes that were seen.
    environments : int
        How often an environment could be read: that of a process that may not be
        dumped is open to root alone.

    """

    finder: Finder
    pid: int
    folders: tuple[Path, ...]
    hits: set[str] = field(default_factory=set)
    open_modes: dict[str, str] = field(default_factory=dict)
    seen_pids: set[int] = field(default_factory=set)
    looks: int = 0
    environments: int = 0

    def __enter__(self) -> Watch:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._done.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        self.looks += 1
        for pid in processes_of(self.pid):
            self.seen_pids.add(pid)
            for name in ("cmdline", "environ", "comm"):
                self._check(Path(f"/proc/{pid}", name))
        if self.looks % 10 == 1:
            self._look_at_names()

    def _look_at_names(self) -> None:
        for folder in self.folders:
            for path in _walk(folder):
                name = os.fsencode(path.name)
                if self.finder.find(name):
                    self.hits.add(f"file name below {folder.name}")
                if folder == self.folders[0]:
                    self._check_mode(path, folder)

    def _check_mode(self, path: Path, folder: Path) -> None:
        try:
            mode = path.lstat().st_mode & 0o777
        except OSError:
            return
        if mode & 0o077:
            self.open_modes[path.relative_to(folder).as_posix()] = f"{mode:04o}"

    def _check(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError:
            return
        self.environments += path.name == "environ" and bool(data)
        if self.finder.find(data):
            self.hits.add(f"{path.name} of a process")


def _walk(folder: Path) -> Iterable[Path]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(root, name)
