"""Characters of HL7 v2: the bytes, the delimiters, and the escapes of chapter 2.7.

The splitting is ours: `hl7.parse` builds the whole tree at once (500 MB for 2 MB of
delimiters), and its ``unescape`` drops what it does not know and writes it to the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from dicom_node.errors import ReportRefusedError

__all__ = ["Delimiters", "decode_message", "plain_text"]

_CHARACTER_SETS = {
    "ASCII": "",
    "ISO IR6": "",
    "8859/1": "latin-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "ISO IR87": "iso2022_jp",
    "ISO IR100": "latin-1",
    "ISO IR192": "utf-8",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
}
"""HL7 table 0211, and names of DICOM that senders write instead. Empty: the sender
claims ASCII, as do those who say nothing and send something else."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_MAX_FIELDS = 10_000
"""Fields of the header that are looked at."""


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2: what separates fields, components, repetitions ..."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @classmethod
    def of(cls, header: str) -> Delimiters:
        """Return the delimiters of a message by its header segment.

        Raises
        ------
        ReportRefusedError
            It is no header.

        """
        field = header[3:4]
        encoding = header[4:].partition(field)[0] if field else ""
        given = field + encoding[:4]
        is_header = header.startswith("MSH") and len(encoding) >= 1
        if not is_header or len(set(given)) < len(given) or re.search(r"\w|\s", given):
            msg = "the message has no header segment"
            raise ReportRefusedError(msg)
        return cls(field, *encoding[:4])


def decode_message(data: bytes) -> str:
    """Decode the bytes of a message as its MSH-18 says.

    Where it is empty or says ASCII, the message is read as UTF-8, and as ISO 8859-1
    where it is not: senders that say nothing send any of the three.

    Raises
    ------
    ReportRefusedError
        The character set is unknown, or the bytes are not of it.

    """
    header = re.split(rb"[\r\n]", data, maxsplit=1)[0]
    fields = header.split(header[3:4], _MAX_FIELDS) if len(header) > 3 else []
    # MSH-1 is the delimiter itself: the n-th part is MSH-(n+1).
    named = fields[17].decode("ascii", "replace") if len(fields) > 17 else ""
    repetition = fields[1][1:2].decode("ascii", "replace") if len(fields) > 1 else ""
    name = (named.split(repetition)[0] if repetition else named).strip().upper()
    codec = _CHARACTER_SETS.get(name, "" if not name else None)
    if codec is None:
        msg = "the character set that MSH-18 names is not known"
        raise ReportRefusedError(msg, code=103, field="MSH-18")
    if not codec:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("latin-1")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        msg = "the message is not in the character set that MSH-18 names"
        raise ReportRefusedError(msg, code=102, field="MSH-18") from error


def plain_text(raw: str, delimiters: Delimiters, *, encoding: str = "utf-8") -> str:
    r"""Return the text that a field or component stands for.

    Parameters
    ----------
    raw : str
        As it stands in the message, with escapes (chapter 2.7): ``\F\`` ``\S\``
        ``\T\`` ``\R\`` ``\E\`` are delimiters, ``\Xhh..\`` bytes, ``\.br\`` ``\.sp n\``
        ``\.ce\`` line breaks, ``\.in n\`` ``\.ti n\`` ``\.sk n\`` spaces. Highlighting,
        switches of the character set and local escapes say nothing here. What is no
        escape stays as it is: a lone backslash is text.
    delimiters : Delimiters
        Of the message.
    encoding : str
        Codec of the bytes of ``\X..\``; ISO 8859-1 where they are not of it.

    """
    if delimiters.escape not in raw and not _CONTROLS.search(raw):
        return raw
    letters = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
    }

    def replace(found: re.Match[str]) -> str:
        if found["hex"]:
            digits = re.findall(r"X([0-9A-Fa-f]+)", found["hex"])
            data = bytes.fromhex("".join(digits))
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                return data.decode("latin-1")
        if found["letter"]:
            return letters[found["letter"]]
        if found["command"]:
            return _format(found["command"], found["amount"])
        return ""

    text = _escapes(delimiters.escape).sub(replace, raw)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n")
    return re.sub(r"[\x00-\x08\x0c\x0e-\x1f\x7f]", "", text)


@lru_cache(maxsize=16)
def _escapes(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(
        rf"(?P<hex>(?:{mark}X(?:[0-9A-Fa-f]{{2}})+{mark})+)"
        rf"|{mark}(?:(?P<letter>[FSTRE])"
        r"|\.(?P<command>br|sp|fi|nf|in|ti|sk|ce)\s*(?P<amount>[+-]?\d{0,4})"
        rf"|(?P<silent>[HNP]|C[0-9A-Fa-f]{{4}}|M[0-9A-Fa-f]{{4,6}}|Z[^\s{mark}]*))"
        rf"{mark}",
    )


def _format(command: str, amount: str) -> str:
    """Return what a formatting command of FT puts into the text (chapter 2.7.6)."""
    number = int(amount) if amount.strip("+-") else None
    if command in ("br", "ce"):
        return "\n"
    if command == "sp":
        # End this line and skip that many: one when it says none.
        return "\n" * min(max(1, 1 if number is None else number), 20)
    if command in ("in", "ti", "sk"):
        return " " * min(max(0, number or 0), 40)
    return ""
