r"""Cuts the text of a message into segments, and keeps text that looks like one.

Segments end with ``\r`` (HL7 v2 chapter 2.4); ``\n`` and both are taken too. Many
senders do not escape the line breaks of a report: what comes before the end of OBX-5
and begins no segment that a report message has is text of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from dicom_node.errors import ReportRefusedError
from dicom_node.hl7.tables import OBSERVATION_STATUS, REPORT_SEGMENTS
from dicom_node.hl7.text import Delimiters

__all__ = ["MAX_DELIMITERS", "MAX_LINES", "MAX_ORDERS", "cut_segments"]

MAX_LINES = 20_000
"""Most lines of a message."""

MAX_DELIMITERS = 400_000
"""Most delimiters of a message, of all kinds: what they part becomes objects."""

MAX_ORDERS = 100
"""Most OBR segments of a message."""

_VALUE = 5
"""OBX-5 holds the text: it begins after that many delimiters."""


def cut_segments(text: str, delimiters: Delimiters) -> Iterator[str]:
    """Yield the segments of a message, without escapes taken off.

    Line breaks and field delimiters that a sender did not escape in OBX-5 come as
    escapes. Segments that no report message has are yielded too.

    Raises
    ------
    ReportRefusedError
        The message has too many parts, a second header, or text that belongs to no
        field. ``code`` is of table 0357.

    """
    text = text.rstrip("\r\n \t\0")
    _check_size(text, delimiters)
    row: _Row | None = None
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text)):
        name = line[:3] if line[3:4] == delimiters.field else ""
        if name == "MSH" and number:
            msg = "the block holds a second message"
            raise ReportRefusedError(msg, code=100, field="MSH")
        is_segment = name in REPORT_SEGMENTS or re.fullmatch("Z[A-Z0-9]{2}", name)
        if row is not None and not is_segment and row.takes(line, is_named=bool(name)):
            continue
        if not is_segment and not re.fullmatch("[A-Z][A-Z0-9]{2}", name):
            continue
        if row is not None:
            yield row.whole()
            row = None
        if name == "OBX":
            row = _Row(line, delimiters)
        else:
            yield line
    if row is not None:
        yield row.whole()


def _check_size(text: str, delimiters: Delimiters) -> None:
    lines = text.count("\r") + text.count("\n") - text.count("\r\n")
    one = delimiters
    parts = sum(
        map(text.count, (one.field, one.component, one.repetition, one.subcomponent))
    )
    if lines > MAX_LINES or parts > MAX_DELIMITERS:
        msg = "the message has too many segments or fields"
        raise ReportRefusedError(msg, code=207)
    if len(re.findall(rf"[\r\n]OBR{re.escape(one.field)}", text)) > MAX_ORDERS:
        msg = f"the message has more than {MAX_ORDERS} orders"
        raise ReportRefusedError(msg, code=207, field="OBR")


class _Row:
    """An OBX and the lines of its text."""

    def __init__(self, line: str, delimiters: Delimiters) -> None:
        self._delimiters = delimiters
        self._lines: list[str] = [line]
        self._tail = ""
        self._is_open = line.count(delimiters.field) == _VALUE

    def takes(self, line: str, *, is_named: bool) -> bool:
        """Take a line that begins no known segment; False: it is not the row's.

        Raises
        ------
        ReportRefusedError
            It is text, and the value of the row has ended, or not begun.

        """
        if not self._is_open:
            if is_named or not line.strip(" \t\0"):
                return False
            msg = "a line of text stands outside of the field that it belongs to"
            raise ReportRefusedError(msg, code=102, field="OBX-5")
        end = _end_of_value(self._delimiters.field).search(line)
        if end is not None:
            self._is_open = False
            line, self._tail = line[: end.start()], line[end.start() :]
        self._lines.append(line)
        return True

    def whole(self) -> str:
        """Return the segment in one line."""
        first, *others = self._lines
        if not others:
            return first
        one = self._delimiters
        if self._is_open:
            # Fields after the text that are empty.
            others[-1] = others[-1].rstrip(one.field)
        mark = f"{one.escape}F{one.escape}"
        escaped = [line.replace(one.field, mark) for line in others]
        return f"{one.escape}.br{one.escape}".join([first, *escaped]) + self._tail


@lru_cache(maxsize=16)
def _end_of_value(field: str) -> re.Pattern[str]:
    """Return what OBX-5 ends with: no unit, no range, and then a status (OBX-11)."""
    mark = re.escape(field)
    between = rf"[^{mark}]{{0,80}}{mark}"
    codes = "".join(sorted(OBSERVATION_STATUS))
    return re.compile(rf"{mark}{{3}}(?:{between}){{3}}[{codes}](?:{mark}|\s*$)")
