"""Read annotation tables row by row, and say file and line when a cell is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from training.errors import DatasetError

__all__ = ["Row", "read_lines", "read_table"]

_EMPTY = {"", "nan", "none", "null", "na", "n/a"}
"""What tables write where there is nothing, in lower case."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Cells are found by the header's name without regard to case and outer spaces:
    datasets spell ``rad_id`` and ``rad_ID``, ``EncodedPixels`` and `` EncodedPixels``.
    """

    table: Path
    line: int
    """Of the file, from 1"""
    cells: tuple[str, ...]
    columns: dict[str, int]

    def __contains__(self, column: str) -> bool:
        return column.casefold() in self.columns

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.table.name}, line {self.line}"

    def fail(self, reason: str) -> NoReturn:
        """Refuse this line.

        Raises
        ------
        DatasetError
            Always; the message names file and line and holds no cell.
        """
        raise DatasetError(f"{self.place}: {reason}")

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Refuse this line where the block raises ValueError, with its message."""
        try:
            yield
        except ValueError as error:
            self.fail(str(error))

    def cell(self, column: str | int) -> str:
        """Return a cell by name or place, without outer spaces; "" when short."""
        place = column if isinstance(column, int) else self._place(column)
        return self.cells[place].strip() if place < len(self.cells) else ""

    def text(self, column: str | int) -> str:
        """Return a cell that must not be empty."""
        value = self.cell(column)
        if value.casefold() in _EMPTY:
            self.fail(f"no {self._name(column)}")
        return value

    def number(self, column: str | int) -> float:
        """Return a cell that must be a finite number."""
        value = self.number_or_none(column)
        if value is None:
            self.fail(f"no {self._name(column)}")
        return value

    def number_or_none(self, column: str | int) -> float | None:
        """Return a finite number, or None where the cell is empty or NaN."""
        value = self.cell(column)
        if value.casefold() in _EMPTY:
            return None
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{self._name(column)} is not a number")
        if not math.isfinite(number):
            self.fail(f"{self._name(column)} is not a finite number")
        return number

    def integer(self, column: str | int) -> int:
        """Return a cell that must be a whole number; ``1.0`` is one."""
        number = self.number(column)
        if number != int(number):
            self.fail(f"{self._name(column)} is not a whole number")
        return int(number)

    def _place(self, column: str) -> int:
        place = self.columns.get(column.casefold())
        if place is None:
            self.fail(f"the table has no column {column}")
        return place

    @staticmethod
    def _name(column: str | int) -> str:
        return f"cell {column + 1}" if isinstance(column, int) else column


def read_table(
    path: Path, *, required: Sequence[str] = (), delimiter: str = ","
) -> Iterator[Row]:
    """Yield the lines below the header, skipping empty ones.

    Raises
    ------
    DatasetError
        The file is missing, empty or no text, or lacks a required column.
    """
    rows = _rows(path, delimiter=delimiter)
    header = next(rows, None)
    if header is None:
        raise DatasetError(f"{path.name}: the table is empty")
    line, names = header
    columns: dict[str, int] = {}
    for place, name in enumerate(names):
        columns.setdefault(name.strip().casefold(), place)
    for name in required:
        if name.casefold() not in columns:
            raise DatasetError(f"{path.name}, line {line}: no column {name}")
    for line, cells in rows:
        yield Row(path, line, tuple(cells), columns)


def read_lines(path: Path) -> list[str]:
    """Read a list of names, one a line, without empty lines.

    Raises
    ------
    DatasetError
        The file is missing or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read: {_kind(error)}") from error
    return [line.strip() for line in lines if line.strip()]


def _rows(path: Path, *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    try:
        # Spreadsheets put a byte order mark before the first name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, cells
            except csv.Error as error:
                place = f"{path.name}, line {reader.line_num}"
                raise DatasetError(f"{place}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read: {_kind(error)}") from error


def _kind(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return error.strerror or type(error).__name__
