"""Read JSON annotations, and say file and place when a value is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from training.errors import DatasetError

__all__ = ["Node", "read_json", "read_json_lines"]


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands, so that a wrong one can be named.

    The place is file, line or path of keys and indices; it never holds a value.
    """

    value: Any
    place: str

    def fail(self, reason: str) -> NoReturn:
        """Refuse this value.

        Raises
        ------
        DatasetError
            Always; the message names file and place.
        """
        raise DatasetError(f"{self.place}: {reason}")

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Refuse this value where the block raises ValueError, with its message."""
        try:
            yield
        except ValueError as error:
            self.fail(str(error))

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def member(self, key: str) -> Node:
        """Return a member of an object; it must be there and not null."""
        if not isinstance(self.value, dict):
            self.fail("not an object")
        if self.value.get(key) is None:
            self.fail(f"no {key}")
        return Node(self.value[key], f"{self.place}.{key}")

    def members(self) -> Iterator[tuple[str, Node]]:
        """Yield the members; places number them, since keys may name patients."""
        if not isinstance(self.value, dict):
            self.fail("not an object")
        for index, (key, value) in enumerate(self.value.items()):
            yield key, Node(value, f"{self.place}[{index}]")

    def items(self, key: str | None = None) -> list[Node]:
        """Return the items of an array; of the member `key`, none when it is absent."""
        node = self
        if key is not None:
            if key not in self:
                return []
            node = self.member(key)
        if not isinstance(node.value, list):
            node.fail("not an array")
        return [
            Node(item, f"{node.place}[{index}]")
            for index, item in enumerate(node.value)
        ]

    def text(self) -> str:
        """Return a string that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            self.fail("not a text")
        return str(self.value)

    def number(self) -> float:
        """Return a finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail("not a number")
        if not math.isfinite(self.value):
            self.fail("not a finite number")
        return float(self.value)

    def integer(self) -> int:
        """Return a whole number."""
        number = self.number()
        if number != int(number):
            self.fail("not a whole number")
        return int(number)

    def identifier(self) -> str:
        """Return a whole number or a text as text: datasets use both as keys."""
        return self.text() if isinstance(self.value, str) else str(self.integer())

    def numbers(self, count: int) -> tuple[float, ...]:
        """Return an array of so many finite numbers."""
        items = self.items()
        if len(items) != count:
            self.fail(f"not {count} numbers")
        return tuple(item.number() for item in items)

    def texts(self, key: str) -> list[str]:
        """Return the strings of the array `key`; none when it is absent."""
        return [item.text() for item in self.items(key)]


def read_json(path: Path) -> Node:
    """Read a whole file.

    Raises
    ------
    DatasetError
        It is missing, no UTF-8 or no JSON; the message names the line.
    """
    return _parse(_read(path), path.name)


def read_json_lines(path: Path) -> Iterator[Node]:
    """Yield one value a line without holding the file; empty lines are skipped.

    Raises
    ------
    DatasetError
        The file is missing, or a line is no JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse_line(line, f"{path.name}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DatasetError(f"{path.name} cannot be read: {reason}") from error


def _parse(text: str, place: str) -> Node:
    try:
        return Node(json.loads(text), place)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{place}, line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise DatasetError(f"{place}: nested too deeply") from error


def _parse_line(text: str, place: str) -> Node:
    try:
        return Node(json.loads(text), place)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{place}: not JSON") from error
