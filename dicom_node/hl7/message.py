"""An HL7 v2 message as segments and fields, read lazily."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from dicom_node.errors import ReportRefusedError
from dicom_node.hl7.rows import cut_segments
from dicom_node.hl7.text import Delimiters, decode_message, plain_text

__all__ = ["Message", "Segment"]

_LEADING = b"\xef\xbb\xbf\r\n \t"
"""A byte order mark and white space before the header."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A line of a message: ``parts[0]`` is its name."""

    parts: tuple[str, ...]
    delimiters: Delimiters

    @property
    def name(self) -> str:
        """Its three letters."""
        return self.parts[0]

    def raw(self, number: int) -> str:
        """Return a field as it stands, empty where absent.

        ``number`` counts as the standard does: MSH-1 is the delimiter itself.
        """
        if self.name == "MSH":
            if number == 1:
                return self.delimiters.field
            number -= 1
        return self.parts[number] if number < len(self.parts) else ""

    def repetitions(self, number: int) -> list[str]:
        """Return the repetitions of a field as they stand."""
        return self.raw(number).split(self.delimiters.repetition)

    def components(self, number: int) -> list[str]:
        """Return the components of the first repetition as texts, without escapes."""
        return next(self.each(number))

    def each(self, number: int) -> Iterator[list[str]]:
        """Yield the components of each repetition as texts, without escapes."""
        for raw in self.repetitions(number):
            yield [
                plain_text(one, self.delimiters).strip()
                for one in raw.split(self.delimiters.component)
            ]

    def component(self, number: int, component: int = 1) -> str:
        """Return a component of the first repetition: its first sub-component."""
        raw = self.repetitions(number)[0].split(self.delimiters.component)
        if component > len(raw):
            return ""
        first = raw[component - 1].partition(self.delimiters.subcomponent)[0]
        text = plain_text(first, self.delimiters).strip()
        return "" if text == '""' else text


@dataclass(frozen=True)
class Message:
    """A message: its header first."""

    delimiters: Delimiters
    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Read a message.

        Raises
        ------
        ReportRefusedError
            There is no header, the characters cannot be decoded, or it cannot be cut
            into segments (`rows.cut_segments`).

        """
        return cls.of_text(decode_message(data.lstrip(_LEADING)))

    @classmethod
    def header_of(cls, data: bytes) -> Message | None:
        """Read no more than the header, for an answer; None: there is none.

        Each byte is a character, so that ISO 8859-1 gives back what the sender wrote
        in any character set.
        """
        line = re.split(rb"[\r\n]", data.lstrip(_LEADING)[:4096], maxsplit=1)[0]
        try:
            return cls.of_text(line.decode("latin-1"))
        except ReportRefusedError:
            return None

    @classmethod
    def of_text(cls, text: str) -> Message:
        """Read a message that is decoded already."""
        delimiters = Delimiters.of(re.split(r"[\r\n]", text, maxsplit=1)[0])
        segments = tuple(
            Segment(tuple(one.split(delimiters.field)), delimiters)
            for one in cut_segments(text, delimiters)
        )
        return cls(delimiters, segments)

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    @cached_property
    def kind(self) -> tuple[str, str]:
        """MSH-9: message code and trigger event, such as ORU and R01."""
        parts = [*self.header.components(9), "", ""]
        return parts[0].upper(), parts[1].upper()
