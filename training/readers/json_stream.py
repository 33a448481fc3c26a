"""Read the members of a huge JSON object one after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from training.errors import DatasetError
from training.readers.jsonfile import Node

__all__ = ["stream_members"]

_CHUNK = 1 << 16
"""Characters read at once; memory stays at a few of these."""

_SPACE = re.compile(r"[ \t\r\n]*")

_LONGEST_VALUE = 1 << 26
"""Characters of one streamed member, beyond which the file is not what it claims."""


def stream_members(path: Path) -> Iterator[tuple[str, Node]]:
    """Yield the members of a file's one object without holding the file.

    Raises
    ------
    DatasetError
        The file is missing, or is not one JSON object; the message counts the members
        that were read before.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = _Text(iter(lambda: file.read(_CHUNK), ""), path.name)
            text.expect("{")
            while not text.take("}"):
                if text.count:
                    text.expect(",")
                key = text.value(decoder)
                text.expect(":")
                if not isinstance(key, str):
                    text.fail("a key is not a text")
                value = text.value(decoder)
                yield key, Node(value, f"{path.name}, member {text.count + 1}")
                text.count += 1
            text.end()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read") from error


class _Text:
    """A window that moves over a text read in chunks."""

    def __init__(self, chunks: Iterator[str], name: str) -> None:
        self._chunks = chunks
        self._name = name
        self._window = ""
        self._at = 0
        self.count = 0
        """Members read so far"""

    def fail(self, reason: str) -> NoReturn:
        raise DatasetError(f"{self._name}, after member {self.count}: {reason}")

    def take(self, mark: str) -> bool:
        """Step over white space, and over `mark` if it comes next."""
        self._skip_space()
        if not self._window.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            self.fail(f"{mark!r} was expected")

    def value(self, decoder: json.JSONDecoder) -> Any:
        """Step over one JSON value and return it."""
        self._skip_space()
        while True:
            try:
                value, end = decoder.raw_decode(self._window, self._at)
            except (ValueError, RecursionError) as error:
                too_long = len(self._window) - self._at > _LONGEST_VALUE
                if too_long or not self._grow():
                    raise DatasetError(
                        f"{self._name}, after member {self.count}: not JSON"
                    ) from error
                continue
            # A number at the window's end may go on in the next chunk: 1, 1.5, 1.5e+3.
            open_ended = isinstance(value, int | float) and end + 3 > len(self._window)
            if open_ended and self._grow():
                continue
            self._at = end
            return value

    def end(self) -> None:
        self._skip_space()
        if self._at < len(self._window):
            self.fail("more follows the object")

    def _skip_space(self) -> None:
        while True:
            found = _SPACE.match(self._window, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._window) or not self._grow():
                return

    def _grow(self) -> bool:
        """Drop what was read and append at least as much as is left.

        Doubling keeps the cost of trying a long value again in proportion to its
        length.
        """
        parts = [self._window[self._at :]]
        wanted = length = len(parts[0])
        for chunk in self._chunks:
            parts.append(chunk)
            length += len(chunk)
            if length >= 2 * wanted:
                break
        if length == wanted:
            return False
        self._window = "".join(parts)
        self._at = 0
        return True
