"""Reports that come as text files."""

from __future__ import annotations

from pathlib import Path

from dicom_node.errors import ReportError

__all__ = ["decode_report", "read_report_text"]

MAX_REPORT_BYTES = 4 << 20
"""Largest text that is taken for a report."""


def read_report_text(path: Path) -> str:
    """Read a report from a text file.

    Parameters
    ----------
    path : pathlib.Path
        Plain text in UTF-8, with or without a byte order mark, or in ISO 8859-1.

    Raises
    ------
    ReportError
        The file cannot be read, is too large, or is not text.

    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        msg = f"the report cannot be read: {error.strerror or type(error).__name__}"
        raise ReportError(msg) from error
    if len(data) > MAX_REPORT_BYTES:
        msg = f"the report has more than {MAX_REPORT_BYTES} bytes"
        raise ReportError(msg)
    return decode_report(data)


def decode_report(data: bytes) -> str:
    """Decode the bytes of a report.

    Raises
    ------
    ReportError
        They are not text, or nothing but white space.

    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    if "\0" in text:
        msg = "the report is not a text file"
        raise ReportError(msg)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        msg = "the report is empty"
        raise ReportError(msg)
    return text
