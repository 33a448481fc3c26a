"""Text in the character sets of a data set: what pydicom decodes, mended."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.charset import decode_bytes

__all__ = ["decode_text", "without_escapes"]

_GB2312 = "\x1b$)A"


def decode_text(value: bytes, encodings: Sequence[str], delimiters: set[int]) -> str:
    """Decode a value with code extensions (PS3.5 6.1.2.5).

    Parameters
    ----------
    value : bytes
        As it is encoded.
    encodings : sequence of str
        Python's names, of `pydicom.charset.convert_encodings`.
    delimiters : set of int
        Characters after which the first encoding is in force again.

    Raises
    ------
    LookupError, UnicodeError, ValueError
        It cannot be decoded.

    """
    return without_escapes(decode_bytes(value, list(encodings), delimiters))


def without_escapes(text: str) -> str:
    """Remove the escape sequences of ISO 2022 IR 58 (PS3.5 K.2) from decoded text.

    pydicom decodes what follows them and leaves them where they were.
    """
    return text.replace(_GB2312, "")
